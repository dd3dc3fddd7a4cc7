"""What a forked child must have anew, whether or not Python's hooks saw the fork."""

from __future__ import annotations

import mmap
import os
import threading
from typing import Protocol

_WIPE_ON_FORK = 18  # Linux's MADV_WIPEONFORK


class Lock:
    """A lock for each process: `with lock():`.

    Another thread of the parent may have held the parent's, which nobody in the child gives back. A
    signal's handler may come in again, in the thread that holds it, so each is an RLock.
    """

    def __init__(self) -> None:
        self._of: dict[int, threading.RLock] = {}
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._of = {}

    def __call__(self) -> threading.RLock:
        """The calling process's; a single step makes it, so threads that begin at once share it."""
        pid = os.getpid()
        return self._of.get(pid) or self._of.setdefault(pid, threading.RLock())


class Cell(Protocol):
    """Holds a number, at its only place."""

    def __getitem__(self, place: int, /) -> float: ...

    def __setitem__(self, place: int, number: float, /) -> None: ...


def cell() -> Cell:
    """A number that is 0 again in each forked child, also where nobody told Python of the fork.

    The kernel sees to it, so that to read it is no call.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:
        # A kernel that is older than 2017, or another system's.
        return Asking()
    return memoryview(page)[:8].cast("d")


class Asking:
    """The same where the kernel can't: it asks each time which process this is."""

    _pid = 0
    _number = 0.0

    def __getitem__(self, _place: int) -> float:
        return self._number if self._pid == os.getpid() else 0.0

    def __setitem__(self, _place: int, number: float) -> None:
        self._pid, self._number = os.getpid(), number
