"""Space on a disk, taken before it is written to, and files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def fallocate(fd: int, size: int) -> None:
    """Give the file real blocks up to `size`; raises OSError where the disk is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    have = os.fstat(fd).st_size
    os.pwrite(fd, bytes(max(0, size - have)), have)


def write(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, on the disk as a whole when it has its name."""
    handle, temporary = tempfile.mkstemp(".tmp", f".{path.stem}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
