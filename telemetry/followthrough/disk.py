"""Space on a disk, taken before it is written to."""

from __future__ import annotations

import os


def fallocate(fd: int, size: int) -> None:
    """Give the file real blocks up to `size`; raises OSError where the disk is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    have = os.fstat(fd).st_size
    os.pwrite(fd, bytes(max(0, size - have)), have)
