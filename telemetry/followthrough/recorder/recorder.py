"""A process's ring: taken when first needed, anew after a fork, let be where it can't be had."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from .. import slots
from . import inflight
from .inflight import Table
from .launch import Launcher
from .ring import Writer

RETRY_AFTER = 60.0
SUFFIX = ".spans"

logger = logging.getLogger(__name__)


def folder(state_dir: Path) -> Path:
    """Where the rings of all processes are."""
    return state_dir / "rings"


@dataclass(frozen=True)
class Entry:
    """A span's place in a process's table of those under way."""

    table: Table
    number: int

    def ending(self, head: int) -> None:
        """Note where the ring's head will be once the span's record is committed."""
        self.table.ending(self.number, head)


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
        self._table: Table | None = None
        self._pid = os.getpid()
        self._off_until = 0.0
        self._complained = False
        # Seconds for whoever watches over this process to note why it was lost.
        self.patience = 0.0
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)

    def _unlock(self) -> None:
        # Another thread of the parent may have held it. A signal handler may come in again: RLock.
        self._lock = threading.RLock()

    def begin(self, record: bytes) -> Entry | None:
        """Keep a span that has begun, so that it is told even if its process is killed."""
        self._opened()
        table = self._table
        number = table.begin(record) if table is not None else None
        self._look_for_an_agent()
        return None if table is None or number is None else Entry(table, number)

    def put(self, record: bytes, entry: Entry | None = None) -> None:
        """Keep a record for the agent; with it, its span's entry is given up."""
        writer = self._opened()
        # One of the parent's is the parent's to give up.
        mine = entry is not None and entry.table is self._table
        if writer is not None:
            writer.put(record, entry.ending if entry and mine else None)
        if entry and mine:
            entry.table.end(entry.number)
        self._look_for_an_agent()

    def close(self) -> None:
        """Give up the ring; its records stay for the agent."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
            if self._table is not None:
                self._table.close()
            self._writer = self._table = None

    def _opened(self) -> Writer | None:
        # Not every fork is seen by Python's hooks.
        if self._writer is not None and self._pid == os.getpid():
            return self._writer
        with self._lock:
            if self._pid != os.getpid():
                self.close()
                self._pid = os.getpid()
            if self._writer is None and time.monotonic() >= self._off_until:
                try:
                    self._open()
                except OSError as error:
                    self._turn_off(error)
            return self._writer

    def _open(self) -> None:
        number = slots.held.number(self._state_dir / "slots")
        rings = folder(self._state_dir)
        rings.mkdir(parents=True, exist_ok=True)
        spans, table = rings / f"{number}{SUFFIX}", rings / f"{number}{inflight.SUFFIX}"
        # What the slot's last owner left is set aside before its ring goes on.
        inflight.take_over(table, spans, time.time_ns())
        self._table = Table(table, self.patience)
        self._writer = Writer(spans, self._capacity)

    def _look_for_an_agent(self) -> None:
        if self._launcher is not None:
            self._launcher.look()

    def _turn_off(self, error: OSError) -> None:
        self._off_until = time.monotonic() + RETRY_AFTER
        if not self._complained:
            self._complained = True
            logger.warning("spans are not recorded: %s", error)
