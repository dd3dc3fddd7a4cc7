"""The folder that files are imported from; an upload is kept in it until its import has ended."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO
from uuid import uuid4

from app.services import files
from app.services.files import OutsideError

UPLOADS = "uploads"
BLOCK = 1024**2  # bytes read at a time


def find(folder: Path, wanted: str) -> Path:
    """The file that a path inside the folder names; raises OutsideError."""
    try:
        return files.find(folder, wanted)
    except OutsideError:
        raise OutsideError("Is no file in the import folder.") from None


def offered(folder: Path, wanted: str) -> Path:
    """As `find`, but none of the uploads: each belongs to the import that it was sent for."""
    path = find(folder, wanted)
    if path.is_relative_to(folder.resolve() / UPLOADS):
        raise OutsideError("Is no file in the import folder.")
    return path


def save(upload: IO[bytes], folder: Path) -> str:
    """Keep an upload for one import; gives its path inside the folder.

    Its name tells the hash of its content, and no other upload of that content has it.
    """
    with files.written(folder / UPLOADS) as part:
        part.name = f"{_copy(upload, part.file)}-{uuid4().hex}.csv"
    return f"{UPLOADS}/{part.name}"


def content(inside: str) -> str | None:
    """The hash of an upload's content, also after the upload is gone; None for other files."""
    folder, _, name = inside.rpartition("/")
    return name.partition("-")[0] if folder == UPLOADS else None


def let_go(folder: Path, inside: str) -> None:
    """Delete an upload; other files, and what is gone, are left alone."""
    if content(inside) is not None:
        with suppress(OutsideError):
            find(folder, inside).unlink(missing_ok=True)


def _copy(upload: IO[bytes], part: IO[bytes]) -> str:
    hashed = sha256()
    while block := upload.read(BLOCK):
        hashed.update(block)
        part.write(block)
    return hashed.hexdigest()
