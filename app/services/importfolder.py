"""The folder that files are imported from; uploads are kept in it by their content."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import IO

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


def save(upload: IO[bytes], folder: Path) -> str:
    """Keep an upload under the hash of its content; gives its path inside the folder."""
    with files.written(folder / UPLOADS) as part:
        part.name = f"{_copy(upload, part.file)}.csv"
    return f"{UPLOADS}/{part.name}"


def _copy(upload: IO[bytes], part: IO[bytes]) -> str:
    hashed = sha256()
    while block := upload.read(BLOCK):
        hashed.update(block)
        part.write(block)
    return hashed.hexdigest()
