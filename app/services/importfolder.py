"""The folder that files are imported from; uploads are kept in it by their content."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

UPLOADS = "uploads"
BLOCK = 1024**2  # bytes read at a time


class OutsideError(Exception):
    """The path names no file inside the import folder."""


def find(folder: Path, wanted: str) -> Path:
    """The file that a path inside the folder names; raises OutsideError."""
    root = folder.resolve()
    try:
        # Symbolic links are followed first: only where they end counts.
        path = (root / wanted).resolve(strict=True)
        inside = path.is_relative_to(root) and path.is_file()
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise OutsideError("Is no file in the import folder.")
    return path


def save(upload: IO[bytes], folder: Path) -> str:
    """Keep an upload under the hash of its content; gives its path inside the folder."""
    target = folder / UPLOADS
    target.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=target, prefix=".", suffix=".part", delete=False) as part:
        try:
            name = f"{_copy(upload, part)}.csv"
            # On the disk before it has its name: a power cut leaves no half file under it.
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(target / name)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return f"{UPLOADS}/{name}"


def _copy(upload: IO[bytes], part: IO[bytes]) -> str:
    hashed = sha256()
    while block := upload.read(BLOCK):
        hashed.update(block)
        part.write(block)
    return hashed.hexdigest()
