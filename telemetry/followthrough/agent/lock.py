"""One agent a state directory."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

TRIES = 5
PAUSE = 0.05  # seconds


class Taken(Exception):  # noqa: N818  (it is an answer, not a fault)
    """Another agent holds the lock; the text names it."""


class Lock:
    """The lock file of a state directory, held as long as this process lives or until released.

    A POSIX record lock: it dies with its process, also after SIGKILL, and isn't inherited.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not self._is_had():
            pid = os.read(self._file, 32).decode(errors="replace").strip()
            os.close(self._file)
            raise Taken(f"another agent (pid {pid or 'unknown'}) holds {path}")
        # In this order: whoever looks finds a pid.
        name = f"{os.getpid()}\n".encode()
        os.pwrite(self._file, name, 0)
        os.ftruncate(self._file, len(name))

    def _is_had(self) -> bool:
        # A program that looks whether an agent runs holds the lock for a moment.
        for _ in range(TRIES):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(PAUSE)
            else:
                return True
        return False

    def is_in_place(self) -> bool:
        """Whether nobody has removed the file, so that another agent could lock a new one."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def release(self) -> None:
        """Give the lock up."""
        os.close(self._file)
