"""Files in a folder of the service: found by a path inside it, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


class OutsideError(Exception):
    """The path names no file inside the folder."""


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
        raise OutsideError("Names no file there.")
    return path


class Part:
    """A file that gets its name when it is whole; `name` may be set as late as that."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file = file
        self.name = name


@contextmanager
def written(folder: Path, name: str = "") -> Iterator[Part]:
    """A file to write; at the end it appears in the folder under its name, replacing any other.

    If the block raises, nothing appears.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False) as file:
        try:
            part = Part(file, name)
            yield part
            # On the disk before it has its name: a power cut leaves no half file under it.
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(folder / part.name)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def forget(folder: Path, before: datetime) -> None:
    """Delete the files below the folder that were last written before this moment."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            # It may be gone meanwhile.
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime < before.timestamp():
                    path.unlink()
