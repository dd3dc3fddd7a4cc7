"""A process's rings: taken when first needed, anew after a fork, let be where none can be had."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

from .. import slots
from ..forks import Lock
from . import left
from .inflight import Entry, Table, Watcher
from .launch import Launcher
from .places import EVENTS, LOGS, RINGS, SPANS, UNDER_WAY, folder, slots_of
from .record import LOG
from .writer import Pending, Writer

RETRY_AFTER = 60.0
LOOK_EVERY = 0.5  # seconds between two looks at the files and for the agent
EVENT_BYTES = 128 * 1024
LEAST_BYTES = 64 * 1024
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

logger = logging.getLogger(__name__)


class Recorder:
    """Puts records into the rings of the process that calls; never waits and never raises OSError.

    Where no ring can be had (a full or read-only disk, no free slot), records are lost for a minute
    before it tries again; that is logged once, and the next ring has their number.
    """

    def __init__(self, state_dir: Path, capacity: int, launcher: Launcher | None = None) -> None:
        self._state_dir = state_dir
        self._launcher = launcher
        self._capacity = capacity
        self._lock = Lock()
        # Who may note why this process was lost.
        self.watcher = Watcher()
        self._complained = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._writers: dict[str, Writer] = {}
        self._table: Table | None = None
        self._off_until = self._next_look = 0.0
        # Records without a ring, by why there was none.
        self._lost = {ring: {"removed": 0, "unavailable": 0} for ring in RINGS.values()}

    def begin(self, record: bytes, entry: Entry) -> None:
        """Keep a span that has begun, so that it is told even if its process is killed."""
        is_due = time.monotonic() >= self._next_look
        if is_due or self._table is None or self._pid != os.getpid():
            self._opened(SPANS)
        if self._table is not None:
            self._table.begin(record, entry)

    def give_up(self, entry: Entry) -> None:
        """Forget a span that has begun, of which no record is kept."""
        self._opened(SPANS)
        # One of the parent's is the parent's to give up.
        if entry.table is self._table:
            entry.end()

    def put(self, pending: Pending) -> None:
        """Keep a span's or a log's record for the agent; with a span's its entry is given up.

        May be called again with what an exception out of a signal's handler has cut off.
        """
        ring = LOGS if pending.payload[:1] == LOG else SPANS
        writer = self._writers.get(ring)
        if writer is None or time.monotonic() >= self._next_look or self._pid != os.getpid():
            writer = self._opened(ring)
        while writer is not None:
            entry = pending.entry
            if entry is not None and isinstance(entry, Entry) and entry.table is not self._table:
                # One of the parent's is the parent's to give up.
                pending.entry = None
            if writer.keep(pending):
                return
            writer = self._opened(ring)
        if pending.number is None:
            pending.number = -1
            self._lost[ring]["unavailable"] += 1

    def keep_event(self, payload: bytes) -> bool:
        """Keep what must not be lost; False where it has no room, and is to go elsewhere."""
        pending = Pending(payload)
        try:
            return self._offer(pending)
        except BaseException:
            # A signal's handler may raise at any call.
            self._offer(pending)
            raise

    def _offer(self, pending: Pending) -> bool:
        writer = self._opened(EVENTS)
        return writer is not None and writer.offer(pending)

    def close(self) -> None:
        """Give up the rings; their records stay for the agent."""
        with self._lock():
            self._writers, self._table = {}, None

    def _opened(self, ring: str) -> Writer | None:
        now = time.monotonic()
        is_settled = ring in self._writers or now < self._off_until
        # Not every fork is seen by Python's hooks.
        if is_settled and now < self._next_look and self._pid == os.getpid():
            return self._writers.get(ring)
        with self._lock():
            if self._pid != os.getpid():
                self._begin_anew()
            self._next_look = now + LOOK_EVERY
            self._look()
            if ring not in self._writers and now >= self._off_until:
                self._try_to_open(ring, now)
        if self._launcher is not None and self._writers:
            self._launcher.look()
        return self._writers.get(ring)

    def _look(self) -> None:
        """Begin anew where the files were removed; what was in them is lost."""
        places, writers = slots_of(self._state_dir), self._writers
        whole = {ring: writer.is_in_place() for ring, writer in writers.items()}
        if all(whole.values()) and slots.held.is_in_place(places):
            return
        for ring, writer in writers.items():
            remaining = writer.retire()
            self._lost[ring]["removed"] += 0 if whole[ring] else remaining
        self._writers, self._table = {}, None
        slots.held.let_go(places)
        # Last: the line may itself be recorded.
        if writers:
            logger.warning("spans begin anew: files in %s were removed", self._state_dir)

    def _try_to_open(self, ring: str, now: float) -> None:
        try:
            self._open(ring)
        except OSError as error:
            self._off_until = now + RETRY_AFTER
            if not self._complained:
                self._complained = True
                logger.warning("spans are not recorded: %s", error)

    def _open(self, ring: str) -> None:
        number = slots.held.number(slots_of(self._state_dir))
        rings = folder(self._state_dir)
        rings.mkdir(parents=True, exist_ok=True)
        table = rings / f"{number}{UNDER_WAY}"
        if self._table is None:
            # What the slot's last owner left is set aside before its ring goes on.
            left.take_over(table, rings / f"{number}{SPANS}", time.time_ns())
        # Reserved before it is needed: a disk may be full when there is something to tell.
        self._open_ring(EVENTS, rings / f"{number}{EVENTS}", EVENT_BYTES)
        if self._table is None and ring == SPANS:
            self._table = Table(table, self.watcher)
        self._open_ring(ring, rings / f"{number}{ring}", self._capacity)
        self._complained = False

    def _open_ring(self, ring: str, path: Path, capacity: int) -> None:
        if ring in self._writers:
            return
        writer = _made(path, capacity)
        for reason in self._lost[ring]:
            count, self._lost[ring][reason] = self._lost[ring][reason], 0
            writer.lost(reason, count)
        self._writers[ring] = writer


def _made(path: Path, capacity: int) -> Writer:
    """A ring of this size or, where the disk has no room for it, of the largest that it has."""
    sizes = [capacity, *(s for s in (capacity // 8, capacity // 64) if s >= LEAST_BYTES)]
    for size in sizes[:-1]:
        try:
            return Writer(path, size)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
    return Writer(path, sizes[-1])
