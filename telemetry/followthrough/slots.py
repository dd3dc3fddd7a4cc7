"""A slot is a small number that one living process holds, so files are reused, not piled up.

The lock is POSIX's (lockf): it dies with its process and is not inherited by a fork. It belongs to
the process and the file, and closing any descriptor of the file drops it; so a process has one
slot in a directory, for all that it keeps there, and opens its file once.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from .forks import Lock

LIMIT = 4096
_FLOCK = struct.Struct("@hhqqi4x")  # Linux's struct flock: type, whence, start, length, pid


class Slot:
    """The lowest free slot of a directory; raises OSError where none can be had."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.number, self._fd = next(
            ((number, fd) for number in range(LIMIT) if (fd := lock(directory / str(number)))),
            (-1, 0),
        )
        if self.number < 0:
            raise OSError(f"all {LIMIT} slots of {directory} are taken")
        self._path = directory / str(self.number)

    def is_in_place(self) -> bool:
        """Whether the slot's file is still where it was opened."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Give the slot back; in a forked child, drop the parent's descriptor only."""
        os.close(self._fd)


def lock(path: Path) -> int | None:
    """The descriptor of a slot's file, locked; None if a living process holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(fd)
        return None
    return fd


def is_held(path: Path) -> bool:
    """Whether another living process holds the file's lock; False where there is no file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return _is_locked(fd)
    finally:
        os.close(fd)


def _is_locked(fd: int) -> bool:
    if sys.platform == "linux":
        # Asks and takes nothing, so that nobody who wants the lock meanwhile goes without.
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, asked)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    return False


class Held:
    """The slots that this process has, by their directory."""

    def __init__(self) -> None:
        self._slots: dict[Path, Slot] = {}
        self._pid = os.getpid()
        self._lock = Lock()
        # Told of each slot that is taken, before anything is kept in it.
        self.on_taken: Callable[[Path, int], None] = lambda _directory, _number: None
        # Told when one was let go: what is kept under its number begins anew.
        self.on_let_go: Callable[[], None] = lambda: None

    def number(self, directory: Path) -> int:
        """The slot of this process in the directory, taken when first asked for; raises OSError."""
        with self._lock():
            if self._pid != os.getpid():
                self.release()
            if directory not in self._slots:
                slot = self._slots[directory] = Slot(directory)
                self.on_taken(directory, slot.number)
            return self._slots[directory].number

    def mine(self, directory: Path) -> int | None:
        """The slot that this process has in the directory, if it has one.

        Whoever looks into a slot's file leaves this one alone: closing it would give it up.
        """
        slot = self._slots.get(directory) if self._pid == os.getpid() else None
        return None if slot is None else slot.number

    def is_in_place(self, directory: Path) -> bool:
        """Whether nobody has removed this process's slot from the directory."""
        slot = self._slots.get(directory)
        return slot is None or slot.is_in_place()

    def let_go(self, directory: Path) -> None:
        """Give up a slot whose file was removed; one that is in place is kept."""
        with self._lock():
            if not self.is_in_place(directory):
                self._slots.pop(directory).close()
                self.on_let_go()

    def release(self) -> None:
        """Give all back; what was open in their files must be closed before."""
        with self._lock():
            while self._slots:
                self._slots.popitem()[1].close()
            self._pid = os.getpid()


held = Held()
