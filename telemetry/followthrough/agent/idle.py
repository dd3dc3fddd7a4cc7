"""Ends an agent that a program has started, when there is nobody left to serve."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .. import slots
from ..recorder import inflight, ring
from ..recorder.recorder import SUFFIX, folder
from ..settings import Settings

EVERY = 1.0  # seconds between two looks
LONG_ENOUGH = 5.0  # seconds for which a program may be restarted meanwhile
GIVE_UP = 60.0  # seconds after which what a collector didn't take stays for the next agent


class Watch:
    """Calls `end` when no process has held a slot for a while, and all spans are sent."""

    def __init__(self, settings: Settings, end: Callable[[], None]) -> None:
        self._state_dir = settings.state_dir
        self._end = end
        self._since = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Look until `stop`."""
        while not stop.wait(EVERY):
            idle = time.monotonic() - self._since
            if is_anybody_there(self._state_dir / "slots"):
                self._since = time.monotonic()
            elif idle > GIVE_UP or (idle > LONG_ENOUGH and _is_all_sent(folder(self._state_dir))):
                self._end()
                return


def is_anybody_there(directory: Path) -> bool:
    """Whether another living process holds a slot of the directory."""
    mine = str(slots.held.mine(directory))
    for path in directory.glob("*"):
        if path.name == mine:
            continue
        fd = slots.lock(path)
        if fd is None:
            return True
        os.close(fd)
    return False


def _is_all_sent(rings: Path) -> bool:
    waiting = any(rings.glob(f"*{inflight.LEFT}"))
    return not waiting and all(_is_empty(path) for path in rings.glob(f"*{SUFFIX}"))


def _is_empty(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return not ring.is_ring(fd) or ring.is_empty(fd)
    finally:
        os.close(fd)
