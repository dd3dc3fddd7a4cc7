"""Rows of a run between two of its steps: a file each, which is whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from flask import current_app

from app.services import files
from app.services.etl.reading import Row
from app.services.failures import JobFailedError


class GoneError(JobFailedError):
    """The rows were removed: the run has ended, or was abandoned."""

    def __init__(self) -> None:
        super().__init__("The run's rows are gone; start a new run.")


def write(run_id: str, step: str, rows: Iterable[Row]) -> int:
    """Keep the rows that a step gives, in place of any earlier ones; gives their number."""
    count = 0
    with files.written(_folder(run_id), f"{step}.jsonl") as part:
        for count, row in enumerate(rows, 1):  # noqa: B007  it is the result
            part.file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
    return count


def read(run_id: str, step: str) -> Iterator[Row]:
    """The rows that a step gave; raises GoneError."""
    try:
        file = (_folder(run_id) / f"{step}.jsonl").open("rb")
    except FileNotFoundError:
        raise GoneError from None
    with file:
        for line in file:
            yield Row(*json.loads(line))


def remove(run_id: str) -> None:
    """Remove all that is kept of a run."""
    shutil.rmtree(_folder(run_id), ignore_errors=True)


def remove_before(moment: datetime) -> None:
    """Remove what is left of runs that have kept nothing since that time."""
    for folder in _root().glob("*"):
        # Another process may be removing it too.
        with suppress(OSError):
            if folder.stat().st_mtime < moment.timestamp():
                shutil.rmtree(folder)


def _folder(run_id: str) -> Path:
    # A task's id may be any text; its hash is a safe name.
    return _root() / sha256(run_id.encode()).hexdigest()


def _root() -> Path:
    folder: Path = current_app.extensions["settings"].files_dir / "etl"
    return folder
