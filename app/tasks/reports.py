"""Reports."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task
from celery.exceptions import Retry, SoftTimeLimitExceeded

from app.services.failures import JobFailedError, again

if TYPE_CHECKING:
    from app.services.reports import Report

RETRY_DELAY = 10  # seconds until a database or disk that failed is tried again


@shared_task(
    name="tasks.generate_report",
    bind=True,
    max_retries=5,
    soft_time_limit=300,
    time_limit=330,
)
def generate_report(
    self: Task, report_type: str, parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Make a report once, however often this runs."""
    # Only the pool process that runs it loads SQLAlchemy.
    from app.services import reports  # noqa: PLC0415

    try:
        report = reports.make(report_type, parameters or {}, self.request.id, Reporter(self).shown)
    except Exception as error:
        raise _end(self, error) from error
    return result(report)


def _end(task: Task, error: Exception) -> Exception:
    """What to raise after an error; unless it is a retry, nobody works on the report any more."""
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from app.services import reports  # noqa: PLC0415

    failure = _told(task, error)
    if not isinstance(failure, Retry):
        with suppress(OperationalError):
            reports.store.failed(task.request.id)
    return failure


def _told(task: Task, error: Exception) -> Exception:
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from app.services import reports  # noqa: PLC0415

    if isinstance(error, OperationalError):
        return again(task, "The database does not answer.", RETRY_DELAY)
    if isinstance(error, OSError):
        return again(task, f"The report can't be written: {error.strerror}.", RETRY_DELAY)
    if isinstance(error, SoftTimeLimitExceeded):
        return JobFailedError("It took too long; ask for a shorter period.")
    if isinstance(error, reports.UnknownTypeError | reports.ParametersError):
        return JobFailedError(str(error))
    return error


class Reporter:
    """Shows how far a report is, each state once."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._last: dict[str, Any] = {}

    def shown(self, status: str, percent: int) -> None:
        meta = {"status": status, "percent": percent}
        if meta != self._last:
            self._last = meta
            self._task.update_state(state="PROGRESS", meta=meta)


def result(report: Report) -> dict[str, Any]:
    return {
        "status": "completed",
        "report_type": report.type,
        "file_path": report.file_path,
        "report_id": report.id,
        "download_url": f"/api/reports/{report.id}",
    }
