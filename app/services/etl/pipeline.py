"""The steps of a run; each can be run again, and then gives the same and writes nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from flask import current_app

from app.services.etl import fetching, options, records, rows, runs, sources, staging
from app.services.etl.reading import Row
from app.services.etl.runs import FETCHED, SAVED, STEPS, TRANSFORMED, VALIDATED, Run
from app.services.failures import JobFailedError
from app.services.http_client import RefusedError, UnavailableError

if TYPE_CHECKING:
    from app.services.etl.options import Options

CHUNK = 1000  # rows a transaction
MOST_ERRORS = 10  # bad rows whose reason is kept

Data = dict[str, Any]


def sync(source_id: int, run_id: str) -> int:
    """Take a source through all steps; gives how many records it saved.

    The same run again gives the same number and does nothing. Raises UnavailableError if a later
    try may do, else RefusedError or JobFailedError.
    """
    try:
        fetch(source_id, run_id)
        validate(run_id)
        transform(run_id)
        return int(save(run_id)["saved_records"])
    except (UnavailableError, RefusedError, JobFailedError) as error:
        fail(run_id, str(error))
        raise


def fetch(source_id: int, run_id: str, attempt: int = 0) -> Data:
    """Keep all rows of a source for the next step; raises as `sync` does."""

    def work(run: Run) -> Data:
        source = sources.find(source_id)
        found = fetching.rows(source, _options(source), _settings(), attempt)
        return {"records": staging.write(run.id, FETCHED, found)}

    sources.find(source_id)
    runs.begun(run_id, source_id)
    return _step(run_id, FETCHED, work)


def validate(run_id: str) -> Data:
    """Keep the rows that are as the source's options ask, and the reasons of the first others."""
    return _step(run_id, VALIDATED, _validated)


def transform(run_id: str) -> Data:
    """Bring the rows into their normal form."""
    return _step(run_id, TRANSFORMED, _transformed)


def save(run_id: str) -> Data:
    """Write the rows to the table, and remove what was kept between the steps."""
    result = _step(run_id, SAVED, _saved)
    staging.remove(run_id)
    return result


def fail(run_id: str, error: str) -> None:
    """Note why a run has failed, and remove what it kept."""
    runs.fail(run_id, error)
    staging.remove(run_id)


def tidy(before: datetime) -> int:
    """Give up runs whose last step ended before that time; gives their number."""
    staging.remove_before(before)
    return runs.tidy(before)


def _step(run_id: str, step: str, work: Callable[[Run], Data]) -> Data:
    run = runs.get(run_id)
    if run.has(step):
        return result(run, step)
    if not run.has(before := STEPS[STEPS.index(step) - 1]):
        raise JobFailedError(
            f"The run's rows have not been {before}, it is {run.status}; start a new run."
        )
    try:
        counts = work(run)
    except staging.GoneError:
        # Another process was faster, and has ended the run.
        if not (run := runs.get(run_id)).has(step):
            raise
        return result(run, step)
    return result(runs.passed(run, step, **counts), step)


def result(run: Run, step: str) -> Data:
    """What a step's task gives: what was known after it."""
    data: Data = {"source_id": run.source_id, "run": run.id, "records": run.records}
    passed = STEPS.index(step)
    if passed >= STEPS.index(VALIDATED):
        data |= {"validated": True, "valid_records": run.valid_records, "errors": run.errors}
    if passed >= STEPS.index(TRANSFORMED):
        data["transformed"] = True
    if passed >= STEPS.index(SAVED):
        data |= {"saved": True, "saved_records": run.saved_records}
    return data


def _validated(run: Run) -> Data:
    errors: list[Data] = []
    found = _good(run, _options(sources.find(run.source_id)), errors)
    valid = staging.write(run.id, VALIDATED, found)
    return {"valid_records": valid, "errors": errors}


def _good(run: Run, wanted: Options, errors: list[Data]) -> Iterator[Row]:
    """The good rows; the first others are told in `errors`."""
    seen: set[str] = set()
    for row in staging.read(run.id, FETCHED):
        reason = row.reason or rows.reason(row.data, wanted) or _repeated(row, wanted, seen)
        if not reason:
            yield row
        elif len(errors) < MOST_ERRORS:
            errors.append({"row": row.number, "reason": reason})


def _repeated(row: Row, wanted: Options, seen: set[str]) -> str:
    key = rows.key(row.data, wanted)
    if key in seen:
        return f"{wanted.key}: an earlier row has the same."
    seen.add(key)
    return ""


def _transformed(run: Run) -> Data:
    wanted = _options(sources.find(run.source_id))
    found = staging.read(run.id, VALIDATED)
    staging.write(
        run.id, TRANSFORMED, (Row(row.number, rows.normalised(row.data, wanted)) for row in found)
    )
    return {}


def _saved(run: Run) -> Data:
    wanted = _options(sources.find(run.source_id))
    found = ((str(row.data[wanted.key]), row.data) for row in staging.read(run.id, TRANSFORMED))
    saved = 0
    while chunk := list(islice(found, CHUNK)):
        saved += records.save(run, chunk)
    return {"saved_records": saved}


def _options(source: sources.Source) -> Options:
    try:
        return options.parsed(source.options)
    except ValueError as error:
        raise JobFailedError(f"The options of source {source.id}: {error}.") from None


def _settings() -> Any:
    return current_app.extensions["settings"]
