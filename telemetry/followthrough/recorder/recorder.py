"""A process's ring: taken when first needed, anew after a fork, let be where it can't be had."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from .. import slots
from ..forks import Lock
from . import inflight
from .inflight import Entry, Table
from .launch import Launcher
from .writer import Pending, Writer

RETRY_AFTER = 60.0
LOOK_EVERY = 0.5  # seconds between two looks at the files and for the agent
SUFFIX = ".spans"

logger = logging.getLogger(__name__)


def folder(state_dir: Path) -> Path:
    """Where the rings of all processes are."""
    return state_dir / "rings"


class Recorder:
    """Puts records into the ring of the process that calls; never waits and never raises OSError.

    Where no ring can be had (a full or read-only disk, no free slot), records are lost for a minute
    before it tries again; that is logged once, and the next ring has their number.
    """

    def __init__(self, state_dir: Path, capacity: int, launcher: Launcher | None = None) -> None:
        self._state_dir = state_dir
        self._launcher = launcher
        self._capacity = capacity
        self._lock = Lock()
        # Seconds for whoever watches over this process to note why it was lost.
        self.patience = 0.0
        self._complained = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._writer: Writer | None = None
        self._table: Table | None = None
        self._off_until = self._next_look = 0.0
        # Records without a ring, by why there was none.
        self._lost = {"removed": 0, "unavailable": 0}

    def begin(self, record: bytes, entry: Entry) -> None:
        """Keep a span that has begun, so that it is told even if its process is killed."""
        writer = self._opened()
        if writer is not None and self._table is not None:
            self._table.begin(record, entry)

    def put(self, pending: Pending) -> None:
        """Keep a record for the agent; with it, its span's entry is given up.

        May be called again with what an exception out of a signal's handler has cut off.
        """
        while (writer := self._opened()) is not None:
            if isinstance(pending.entry, Entry) and pending.entry.table is not self._table:
                # One of the parent's is the parent's to give up.
                pending.entry = None
            if writer.keep(pending):
                return
        if pending.number is None:
            pending.number = -1
            self._lost["unavailable"] += 1

    def give_up(self, entry: Entry) -> None:
        """Forget a span that has begun, of which no record is kept."""
        self._opened()
        # One of the parent's is the parent's to give up.
        if entry.table is self._table:
            entry.end()

    def close(self) -> None:
        """Give up the ring; its records stay for the agent."""
        with self._lock():
            self._writer = self._table = None

    def _opened(self) -> Writer | None:
        now = time.monotonic()
        is_settled = self._writer is not None or now < self._off_until
        # Not every fork is seen by Python's hooks.
        if is_settled and now < self._next_look and self._pid == os.getpid():
            return self._writer
        with self._lock():
            if self._pid != os.getpid():
                self._begin_anew()
            self._next_look = now + LOOK_EVERY
            self._look()
            if self._writer is None and now >= self._off_until:
                self._try_to_open(now)
        if self._launcher is not None and self._writer is not None:
            self._launcher.look()
        return self._writer

    def _look(self) -> None:
        """Begin anew where the files were removed; what was in them is lost."""
        writer, places = self._writer, self._state_dir / "slots"
        is_whole = writer is None or writer.is_in_place()
        if is_whole and slots.held.is_in_place(places):
            return
        if writer is not None:
            left = writer.retire()
            self._lost["removed"] += 0 if is_whole else left
            logger.warning("spans begin anew: files in %s were removed", self._state_dir)
        self._writer = self._table = None
        slots.held.let_go(places)

    def _try_to_open(self, now: float) -> None:
        try:
            self._open()
        except OSError as error:
            self._off_until = now + RETRY_AFTER
            if not self._complained:
                self._complained = True
                logger.warning("spans are not recorded: %s", error)

    def _open(self) -> None:
        number = slots.held.number(self._state_dir / "slots")
        rings = folder(self._state_dir)
        rings.mkdir(parents=True, exist_ok=True)
        spans, table = rings / f"{number}{SUFFIX}", rings / f"{number}{inflight.SUFFIX}"
        # What the slot's last owner left is set aside before its ring goes on.
        inflight.take_over(table, spans, time.time_ns())
        writer = Writer(spans, self._capacity)
        self._table = Table(table, self.patience)
        for reason in self._lost:
            count, self._lost[reason] = self._lost[reason], 0
            writer.lost(reason, count)
        self._writer = writer
        self._complained = False
