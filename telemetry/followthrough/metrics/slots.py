"""A slot is a small number that one living process holds, so files are reused, not piled up.

The lock is POSIX's (lockf): it dies with its process and is not inherited by a fork.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LIMIT = 4096


class Slot:
    """The lowest free slot of a directory; raises OSError where none can be had."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # Closing any descriptor of the file would drop the lock, so it stays open.
        self.number, self._fd = next(
            ((number, fd) for number in range(LIMIT) if (fd := _lock(directory / str(number)))),
            (-1, 0),
        )
        if self.number < 0:
            raise OSError(f"all {LIMIT} slots of {directory} are taken")

    def close(self) -> None:
        """Give the slot back; in a forked child, drop the parent's descriptor only."""
        os.close(self._fd)


def _lock(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(fd)
        return None
    return fd
