"""What a forked child must have anew, whether or not Python's hooks saw the fork."""

from __future__ import annotations

import os
import threading


class Lock:
    """A lock for each process: `with lock():`.

    Another thread of the parent may have held the parent's, which nobody in the child gives back. A
    signal's handler may come in again, in the thread that holds it, so each is an RLock.
    """

    def __init__(self) -> None:
        # For who spares the call: `lock.of.get(os.getpid()) or lock()`.
        self.of: dict[int, threading.RLock] = {}
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self.of = {}

    def __call__(self) -> threading.RLock:
        """The calling process's; a single step makes it, so threads that begin at once share it."""
        pid = os.getpid()
        return self.of.get(pid) or self.of.setdefault(pid, threading.RLock())
