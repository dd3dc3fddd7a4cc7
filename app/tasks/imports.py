"""Imports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task
from flask import current_app

from app.services import importfolder, uploads
from app.services.failures import JobFailedError, again
from app.services.files import OutsideError

if TYPE_CHECKING:
    from app.services.datasets import Progress

CHUNK_SIZE = 1000
LARGEST_CHUNK = 10_000  # rows
OPTIONS = ("chunk_size", "name")
RETRY_DELAY = 10  # seconds until a database that did not answer is asked again


@shared_task(name="tasks.import_csv", bind=True, max_retries=5)
def import_csv(self: Task, file_path: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Import a file of the import folder; run again, it goes on from the last committed chunk.

    `options` are chunk_size, and the name that people see. An upload is deleted at the end.
    """
    folder: Path = current_app.extensions["settings"].import_dir
    with uploads.held(folder, file_path):
        return _imported(self, folder, file_path, options)


def _imported(
    task: Task, folder: Path, file_path: str, options: dict[str, Any] | None
) -> dict[str, Any]:
    # Only the pool process that runs it loads SQLAlchemy.
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from app.services.csvfile import BadFileError  # noqa: PLC0415

    try:
        return result(_run(folder, file_path, checked(options), Reporter(task)))
    except (BadFileError, OutsideError) as error:
        raise JobFailedError(f"{file_path}: {error}") from error
    except OperationalError as error:
        raise again(task, "The database does not answer.", RETRY_DELAY) from error


@dataclass(frozen=True)
class Options:
    """`name` is what people see; without one it is the file's path."""

    chunk_size: int = CHUNK_SIZE
    name: str | None = None


def checked(options: dict[str, Any] | None) -> Options:
    """A task's options; raises JobFailedError naming the one that is wrong."""
    given = options or {}
    for each in given:
        if each not in OPTIONS:
            raise JobFailedError(f"options.{each}: Is none of {', '.join(OPTIONS)}.")
    size = given.get("chunk_size", CHUNK_SIZE)
    if type(size) is not int or not 1 <= size <= LARGEST_CHUNK:
        raise JobFailedError(f"options.chunk_size: Must be a number from 1 to {LARGEST_CHUNK}.")
    return Options(**given)


def _run(folder: Path, file_path: str, options: Options, reporter: Reporter) -> Progress:
    from app.services import importer  # noqa: PLC0415

    try:
        path = importfolder.find(folder, file_path)
    except OutsideError:
        if done := _done_before(file_path):
            return done
        raise
    return importer.run(path, options.name or file_path, options.chunk_size, reporter.committed)


def _done_before(file_path: str) -> Progress | None:
    """What the import of an upload came to, if a run before this one has ended and deleted it."""
    from app.services import datasets  # noqa: PLC0415

    content = uploads.content(file_path)
    progress = datasets.of_content(content) if content else None
    return progress if progress and progress.completed else None


class Reporter:
    """Shows the progress of a task, at most once a percent."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._percent = -1

    def committed(self, progress: Progress, lines: int) -> None:
        """Called after each chunk."""
        meta = progress_of(progress, lines)
        if meta["percent"] != self._percent:
            self._percent = meta["percent"]
            self._task.update_state(state="PROGRESS", meta=meta)


def progress_of(progress: Progress, lines: int) -> dict[str, int]:
    """The progress in a file with so many lines, one of which is the header."""
    rows = progress.total_rows
    # Quoted line breaks and blank lines make fewer rows than lines.
    total = max(lines - 1, rows, 1)
    processed = rows - progress.bad_rows
    percent = 100 * rows // total
    return {"processed": processed, "current": rows, "total": total, "percent": percent}


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
