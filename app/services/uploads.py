"""Files that were sent for one task, kept in a folder until that task has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO
from uuid import uuid4

from celery.exceptions import Retry

from app.services import files
from app.services.files import OutsideError

UPLOADS = "uploads"
BLOCK = 1024**2  # bytes read at a time


def save(upload: IO[bytes], folder: Path) -> str:
    """Keep an upload for one task; gives its path inside the folder.

    Its name tells the hash of its content, and no other upload of that content has it.
    """
    with files.written(folder / UPLOADS) as part:
        part.name = f"{_copy(upload, part.file)}-{uuid4().hex}"
    return f"{UPLOADS}/{part.name}"


def _copy(upload: IO[bytes], part: IO[bytes]) -> str:
    hashed = sha256()
    while block := upload.read(BLOCK):
        hashed.update(block)
        part.write(block)
    return hashed.hexdigest()


def content(inside: str) -> str | None:
    """The hash of an upload's content, also after the upload is gone; None for other files."""
    folder, _, name = inside.rpartition("/")
    return name.partition("-")[0] if folder == UPLOADS else None


def let_go(folder: Path, inside: str) -> None:
    """Delete an upload; other files, and what is gone, are left alone."""
    if content(inside) is not None:
        with suppress(OutsideError):
            files.find(folder, inside).unlink(missing_ok=True)


@contextmanager
def held(folder: Path, inside: str) -> Iterator[None]:
    """An upload is deleted when its task has ended, well or badly, but not before another try."""
    try:
        yield
    except Retry:
        raise
    except Exception:
        let_go(folder, inside)
        raise
    else:
        let_go(folder, inside)
