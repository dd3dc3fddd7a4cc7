"""A process's ring: taken when first needed, anew after a fork, let be where it can't be had."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from .. import slots
from .launch import Launcher
from .ring import Writer

RETRY_AFTER = 60.0
SUFFIX = ".spans"

logger = logging.getLogger(__name__)


def folder(state_dir: Path) -> Path:
    """Where the rings of all processes are."""
    return state_dir / "rings"


class Recorder:
    """Puts records into the ring of the process that calls; never waits and never raises OSError.

    Where no ring can be had (a full or read-only disk, no free slot), records are lost for a minute
    before it tries again, and that is logged once.
    """

    def __init__(self, state_dir: Path, capacity: int, launcher: Launcher | None = None) -> None:
        self._state_dir = state_dir
        self._launcher = launcher
        self._capacity = capacity
        self._writer: Writer | None = None
        self._pid = os.getpid()
        self._off_until = 0.0
        self._complained = False
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)

    def _unlock(self) -> None:
        # Another thread of the parent may have held it. A signal handler may come in again: RLock.
        self._lock = threading.RLock()

    def put(self, record: bytes) -> None:
        """Keep a record for the agent."""
        writer = self._writer
        # Not every fork is seen by Python's hooks.
        if writer is None or self._pid != os.getpid():
            writer = self._opened()
        if writer is not None:
            writer.put(record)
        if self._launcher is not None:
            self._launcher.look()

    def close(self) -> None:
        """Give up the ring; its records stay for the agent."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
            self._writer = None

    def _opened(self) -> Writer | None:
        with self._lock:
            if self._pid != os.getpid():
                self.close()
                self._pid = os.getpid()
            if self._writer is None and time.monotonic() >= self._off_until:
                try:
                    self._writer = self._open()
                except OSError as error:
                    self._turn_off(error)
            return self._writer

    def _open(self) -> Writer:
        number = slots.held.number(self._state_dir / "slots")
        rings = folder(self._state_dir)
        rings.mkdir(parents=True, exist_ok=True)
        return Writer(rings / f"{number}{SUFFIX}", self._capacity)

    def _turn_off(self, error: OSError) -> None:
        self._off_until = time.monotonic() + RETRY_AFTER
        if not self._complained:
            self._complained = True
            logger.warning("spans are not recorded: %s", error)
