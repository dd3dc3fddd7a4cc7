"""Imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Task, shared_task
from flask import current_app

from app.services.failures import JobFailedError, again

if TYPE_CHECKING:
    from app.services.datasets import Progress

CHUNK_SIZE = 1000
RETRY_DELAY = 10  # seconds until a database that did not answer is asked again


@shared_task(name="tasks.import_csv", bind=True, max_retries=5)
def import_csv(
    self: Task, file_path: str, chunk_size: int = CHUNK_SIZE, name: str | None = None
) -> dict[str, Any]:
    """Import a file of the import folder; run again, it goes on from the last committed chunk."""
    # Only the pool process that runs it loads SQLAlchemy.
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from app.services import csvfile, importer, importfolder  # noqa: PLC0415
    from app.services.files import OutsideError  # noqa: PLC0415

    try:
        path = importfolder.find(current_app.extensions["settings"].import_dir, file_path)
        progress = importer.run(path, name or file_path, chunk_size, Reporter(self).committed)
        return result(progress)
    except (csvfile.BadFileError, OutsideError) as error:
        raise JobFailedError(f"{file_path}: {error}") from error
    except OperationalError as error:
        raise again(self, "The database does not answer.", RETRY_DELAY) from error


class Reporter:
    """Shows the progress of a task, at most once a percent."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._percent = -1

    def committed(self, progress: Progress, lines: int) -> None:
        """Called after each chunk."""
        meta = progress_of(progress.total_rows, lines)
        if meta["percent"] != self._percent:
            self._percent = meta["percent"]
            self._task.update_state(state="PROGRESS", meta=meta)


def progress_of(rows: int, lines: int) -> dict[str, int]:
    """The progress in a file with so many lines, one of which is the header."""
    # Quoted line breaks and blank lines make fewer rows than lines.
    total = max(lines - 1, rows, 1)
    return {"current": rows, "total": total, "percent": 100 * rows // total}


def result(progress: Progress) -> dict[str, Any]:
    """What the task gives; `errors` are the first bad rows, `bad_rows` is the number of all."""
    from app.services import datasets  # noqa: PLC0415

    errors = datasets.bad_rows(progress.data_id)
    return {
        "status": "completed",
        "data_id": progress.data_id,
        "total_rows": progress.total_rows,
        "processed": progress.total_rows - progress.bad_rows,
        "bad_rows": progress.bad_rows,
        "errors": [{"line": line, "reason": reason} for line, reason in errors],
    }
