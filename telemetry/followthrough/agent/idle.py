"""When an agent ends by itself: nobody is left to serve, or its directory was removed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from .. import slots
from ..recorder import held, ring
from ..recorder.places import LEFT, RINGS, folder
from ..settings import Settings
from .lock import Lock

log = structlog.get_logger("followthrough.agent")

EVERY = 2.0  # seconds between two looks
LONG_ENOUGH = 5.0  # seconds for which a program may be restarted meanwhile
LOG_BYTES = 1 << 20
GIVE_UP = 60.0  # seconds after which what a collector didn't take stays for the next agent


class Guard:
    """Calls `end` when the agent's lock is no more, so that another may be at work."""

    def __init__(self, lock: Lock, end: Callable[[], None]) -> None:
        self._lock = lock
        self._end = end

    def look(self) -> None:
        """Look for the lock."""
        if not self._lock.is_in_place():
            log.error("agent.removed", reason="its lock file was removed")
            self._end()


class Watch:
    """Calls `end` when no process has held a slot for a while, and all spans are sent."""

    def __init__(self, settings: Settings, end: Callable[[], None]) -> None:
        self._state_dir = settings.state_dir
        self._end = end
        self._since = time.monotonic()

    def look(self) -> None:
        """Look for anybody."""
        keep_short(self._state_dir / "agent.log")
        idle = time.monotonic() - self._since
        if is_anybody_there(self._state_dir / "slots"):
            self._since = time.monotonic()
        elif idle > GIVE_UP or (idle > LONG_ENOUGH and self._is_done()):
            self._end()

    def _is_done(self) -> bool:
        is_held = any(held.folder(self._state_dir).glob("*"))
        return not is_held and _is_all_sent(folder(self._state_dir))


def keep_short(path: Path) -> None:
    """Set what an agent has written to its log aside when that is much; the last one goes."""
    try:
        if path.stat().st_size > LOG_BYTES:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            # It is open for appending: what is written next is at its beginning.
            os.truncate(path, 0)
    except OSError as error:
        log.debug("agent.log_kept", error=str(error))


def is_anybody_there(directory: Path) -> bool:
    """Whether another living process holds a slot of the directory."""
    mine = str(slots.held.mine(directory))
    return any(slots.is_held(path) for path in directory.glob("*") if path.name != mine)


def _is_all_sent(rings: Path) -> bool:
    waiting = any(rings.glob(f"*{LEFT}"))
    return not waiting and all(map(_is_empty, _files(rings)))


def _files(rings: Path) -> Iterator[Path]:
    return (path for what in RINGS.values() for path in rings.glob(f"*{what}"))


def _is_empty(path: Path) -> bool:
    with ring.opened(path) as fd:
        return fd is None or ring.is_empty(fd)
