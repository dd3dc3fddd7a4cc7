"""A process's rings: taken when first needed, anew after a fork, let be where none can be had."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from os import getpid
from pathlib import Path
from time import monotonic, time_ns

from .. import slots
from ..forks import Cell, Lock, cell
from . import left
from .inflight import Table, Watcher
from .launch import Launcher
from .pending import Pending
from .places import EVENTS, RINGS, SPANS, UNDER_WAY, folder, slots_of
from .writer import Writer

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
        # When it looks next at the files and for the agent; at once in a child.
        self._due = cell()
        self._table: Table | None = None
        # What `put` of a span's record and `begin` nearly always come to, for who spares a call;
        # False where it isn't, and nothing was done.
        self.keep: Callable[[Pending], bool] = _not_now
        self.note: Callable[[bytes, Pending], bool] = _not_now
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._forget()
        self._off_until = 0.0
        # Records without a ring, by why there was none.
        self._lost = {ring: {"removed": 0, "unavailable": 0} for ring in RINGS.values()}
        # Last, as a signal's handler may cut it off.
        self._pid = getpid()

    def _forget(self) -> None:
        if self._table is not None:
            # What has a place in it is the parent's to end, or was let go with the rest.
            self._table.let_go()
        self._writers: dict[str, Writer] = {}
        self._table = None
        self.keep = self.note = _not_now

    def begin(self, record: bytes, pending: Pending) -> None:
        """Keep a span that has begun, so that it is told even if its process is killed."""
        while not self.note(record, pending):
            self._opened(SPANS)
            if self._table is None:
                return

    def give_up(self, pending: Pending) -> None:
        """Forget a span that has begun, of which no record is kept."""
        if monotonic() >= self._due[0]:
            self._opened(SPANS)
        pending.leave()

    def put(self, pending: Pending, ring: str = SPANS) -> None:
        """Keep a span's or a log's record for the agent; with a span's its place is given up.

        May be called again with what an exception out of a signal's handler has cut off.
        """
        writer = self._writers.get(ring)
        while writer is None or not writer.keep(pending):
            writer = self._opened(ring)
            if writer is None:
                break
        if not pending.fate:
            pending.fate = "unavailable"
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
            self._forget()

    def _opened(self, ring: str) -> Writer | None:
        now = monotonic()
        is_settled = ring in self._writers or now < self._off_until
        # Not every fork is seen by Python's hooks.
        if is_settled and now < self._due[0]:
            return self._writers.get(ring)
        with self._lock():
            if self._pid != getpid():
                self._begin_anew()
            self._due[0] = now + LOOK_EVERY
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
        self._forget()
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
            left.take_over(table, rings / f"{number}{SPANS}", time_ns())
        # Reserved before it is needed: a disk may be full when there is something to tell.
        self._open_ring(EVENTS, rings / f"{number}{EVENTS}", EVENT_BYTES)
        if self._table is None and ring == SPANS:
            self._table = Table(table, self.watcher, self._due)
            self.note = self._table.begin
        self._open_ring(ring, rings / f"{number}{ring}", self._capacity)
        self._complained = False

    def _open_ring(self, ring: str, path: Path, capacity: int) -> None:
        if ring in self._writers:
            return
        writer = _made(path, capacity, self._due)
        for reason in self._lost[ring]:
            count, self._lost[ring][reason] = self._lost[ring][reason], 0
            writer.lost(reason, count)
        self._writers[ring] = writer
        if ring == SPANS:
            self.keep = writer.keep


def _not_now(*_: object) -> bool:
    return False


def _made(path: Path, capacity: int, due: Cell) -> Writer:
    """A ring of this size or, where the disk has no room for it, of the largest that it has."""
    sizes = [capacity, *(s for s in (capacity // 8, capacity // 64) if s >= LEAST_BYTES)]
    for size in sizes[:-1]:
        try:
            return Writer(path, size, due)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
    return Writer(path, sizes[-1], due)
