"""A source's way into the table, a task a step; a run is known by the id of its first task."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Task, shared_task
from flask import current_app

from app.services.failures import JobFailedError, again
from app.services.http_client import RefusedError, UnavailableError

RETRY_DELAY = 10  # seconds until a database that did not answer is asked again
LONGEST_PAUSE = 600.0  # seconds until a source that is in trouble is asked again

Data = dict[str, Any]


@shared_task(name="tasks.fetch_data", bind=True, max_retries=4)
def fetch_data(self: Task, source_id: int) -> Data:
    """Fetch all rows of a source and keep them for the next step; gives their number."""
    # Only the pool process that runs it loads SQLAlchemy.
    from app.services.etl import pipeline  # noqa: PLC0415

    run = self.request.id or str(uuid.uuid4())
    with _failures_noted(self, run):
        return pipeline.fetch(source_id, run, self.request.retries)


@shared_task(name="tasks.validate_data", bind=True, max_retries=4)
def validate_data(self: Task, data: Data) -> Data:
    """Part the good rows from the bad; gives the number of the good and tells the first bad."""
    from app.services.etl import pipeline  # noqa: PLC0415

    run = run_of(data)
    with _failures_noted(self, run):
        return pipeline.validate(run)


@shared_task(name="tasks.transform_data", bind=True, max_retries=4)
def transform_data(self: Task, data: Data) -> Data:
    """Bring the good rows into their normal form."""
    from app.services.etl import pipeline  # noqa: PLC0415

    run = run_of(data)
    with _failures_noted(self, run):
        return pipeline.transform(run)


@shared_task(name="tasks.save_data", bind=True, max_retries=4)
def save_data(self: Task, data: Data) -> Data:
    """Write the rows to the table by their keys; gives their number."""
    from app.services.etl import pipeline  # noqa: PLC0415

    run = run_of(data)
    with _failures_noted(self, run):
        return pipeline.save(run)


@shared_task(name="tasks.aggregate_results")
def aggregate_results(results: list[Data]) -> Data:
    """Sum up what several runs have saved."""
    return {
        "total_sources": len(results),
        "total_records": sum(each["saved_records"] for each in results),
        "sources": [each["source_id"] for each in results],
    }


def run_of(data: Any) -> str:
    """The run that the step before tells of; raises JobFailedError."""
    run = data.get("run") if isinstance(data, dict) else None
    if not isinstance(run, str):
        raise JobFailedError("run: must be what the step before gave.")
    return run


def pause(retries: int, chance: float, retry_after: float | None) -> float:
    """Seconds until the next try: 2, 4, 8 ..., or what the source asks for.

    `chance` (0 to 1) adds up to a tenth, so that tries of several sources don't come at once.
    """
    wanted = 2.0 ** (retries + 1) if retry_after is None else retry_after
    return min(LONGEST_PAUSE, wanted * (1 + chance / 10))


@contextmanager
def _failures_noted(task: Task, run: str) -> Iterator[None]:
    """Try again what may pass; a failure for good ends the run."""
    from app.services.etl import pipeline  # noqa: PLC0415

    try:
        yield
    except Exception as error:
        told = _told_apart(task, error)
        if isinstance(told, JobFailedError):
            pipeline.fail(run, str(told))
        if told is error:
            raise
        raise told from error


def _told_apart(task: Task, error: Exception) -> Exception:
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    if isinstance(error, UnavailableError):
        chance = random.random()  # noqa: S311  no secret
        seconds = pause(task.request.retries, chance, error.retry_after)
        return again(task, str(error), seconds)
    if isinstance(error, OperationalError):
        current_app.logger.warning("the database does not answer", exc_info=error)
        return again(task, "The database does not answer.", RETRY_DELAY)
    return JobFailedError(str(error)) if isinstance(error, RefusedError) else error
