"""Processing of imported datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task

from app.services.failures import JobFailedError, again

if TYPE_CHECKING:
    from app.services.datasets import Progress
    from app.services.profiling import Column

STEPS = ("validating", "transforming", "analyzing", "saving")
RETRY_DELAY = 10  # seconds until an unfinished import or an absent database is asked again


@shared_task(name="tasks.process_data", bind=True, max_retries=5)
def process_data(self: Task, data_id: int) -> dict[str, Any]:
    """Find out what a dataset's columns hold; run again, it gives the same."""
    # Only the pool process that runs it loads SQLAlchemy.
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    try:
        process(data_id, Reporter(self))
    except NotImportedError as error:
        raise again(self, str(error), RETRY_DELAY) from error
    except OperationalError as error:
        raise again(self, "The database does not answer.", RETRY_DELAY) from error
    return {"status": "completed", "data_id": data_id, "steps_completed": len(STEPS)}


class NotImportedError(Exception):
    """The dataset's import has not ended yet."""


class Reporter:
    """Shows which step a task is at and how far, at most once a percent."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._shown: dict[str, Any] = {}

    def step(self, step: str, share: float = 0.0) -> None:
        """`share` of this step is done, from 0 to 1."""
        meta = progress_of(step, share)
        if meta != self._shown:
            self._shown = meta
            self._task.update_state(state="PROGRESS", meta=meta)

    def counted(
        self, step: str, rows: Iterable[dict[str, str]], total: int
    ) -> Iterator[dict[str, str]]:
        """The rows, whose number is shown while they are read."""
        for number, row in enumerate(rows):
            self.step(step, number / max(total, 1))
            yield row


def progress_of(step: str, share: float) -> dict[str, Any]:
    number = STEPS.index(step)
    percent = int(100 * (number + min(share, 1.0)) / len(STEPS))
    return {"step": step, "current": number + 1, "total": len(STEPS), "percent": percent}


def process(data_id: int, reporter: Reporter) -> None:
    """Take the dataset through all steps, in two passes over its rows."""
    from app.services import datasets, profiling  # noqa: PLC0415

    reporter.step("validating")
    dataset = _validated(data_id)
    total = dataset.total_rows - dataset.bad_rows
    columns = [profiling.Column(name) for name in dataset.layout.columns]
    for row in reporter.counted("transforming", datasets.rows(data_id), total):
        for column in columns:
            column.add(row[column.name])
    rows = reporter.counted("analyzing", datasets.rows(data_id), total)
    profiling.count_outliers(columns, rows)
    reporter.step("saving")
    datasets.save_columns(data_id, [kept(column) for column in columns])


def _validated(data_id: int) -> Progress:
    from app.services import datasets  # noqa: PLC0415

    try:
        dataset = datasets.current(data_id)
    except LookupError:
        raise JobFailedError(f"No dataset has the id {data_id}.") from None
    if not dataset.completed:
        raise NotImportedError(f"The import of dataset {data_id} has not ended.")
    return dataset


def kept(column: Column) -> dict[str, Any]:
    """A column as it is kept in the table."""
    from app.services import profiling  # noqa: PLC0415

    return {
        "name": column.name,
        "kind": column.kind,
        "rows": column.count,
        "missing": column.missing,
        "different": column.different,
        "outliers": column.outliers,
        "statistics": profiling.summary(column),
    }
