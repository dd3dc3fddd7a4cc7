"""The spans that are under way in a process, in a file that outlives it.

Whoever takes a dead process's slot sets its table aside (`left`), and the agent ends what is still
in it. A span's entry is given up by the very store that commits its record to the ring, so it is
never told twice.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from zlib import crc32

from .. import guard
from ..disk import fallocate
from ..forks import Cell
from ..outcome import Kind
from .pending import Pending, Place
from .places import LEFT, UNDER_WAY
from .shorten import shortened

MAGIC = b"FTOPEN03"
PAGE = 4096
ENTRIES = 32
MOST = 4096  # entries that a table may grow to
SIZE = 4096  # bytes for an entry
# The magic; the owner's pid and its pid namespace; who watches over it, and for how long after its
# death a cause may still come (ns); when its slot was taken over, and where its ring's head was.
START = struct.Struct("@8sQQQQQQ")
CAUSE = 512  # where the cause of the owner's end is noted: lengths, a time, a checksum, the texts
NOTE = struct.Struct("<HHHQI")
_TEXT = 1000  # bytes of a cause
# A record's length, 0 in a free entry, and above it its checksum; where the ring's head is once it
# has ended.
ENTRY = struct.Struct("@QQ")
FREE = bytes(8)
ROOM = SIZE - ENTRY.size
# For a place that is no longer this process's.
_NOWHERE = memoryview(bytearray(ENTRY.size)).cast("Q"), memoryview(bytearray(ROOM))


@dataclass(frozen=True)
class Cause:
    """Why a process ended: an error's type, as in `error.type`, and a sentence.

    `outcome` is what that makes of the task that it ran, and `at` when it ended (nanoseconds since
    1970), 0 where that isn't known.
    """

    error_type: str
    message: str
    outcome: Kind = "lost"
    at: int = 0


@dataclass(frozen=True)
class Watcher:
    """A process that may note why another was lost, so many seconds after its death at most."""

    pid: int = 0
    seconds: float = 0.0


class Table:
    """The places of this process; raises OSError on a full disk.

    Only the process that holds the slot may have one.
    """

    def __init__(self, path: Path, watcher: Watcher, due: Cell | None = None) -> None:
        self._path = path
        # When somebody is to look at the files, before more is noted.
        self._due: Cell = [math.inf] if due is None else due
        self._lock = threading.RLock()
        self.free: list[Place] = []
        self._places: list[Place] = []
        view = self._mapped(ENTRIES)
        view[:PAGE] = bytes(PAGE)
        for number in range(ENTRIES):
            view[at(number) : at(number) + ENTRY.size] = bytes(ENTRY.size)
        patience = int(watcher.seconds * 1e9)
        START.pack_into(view, 0, MAGIC, os.getpid(), namespace(), watcher.pid, patience, 0, 0)
        self._add(view, ENTRIES)

    @property
    def used(self) -> int:
        """How many places are taken."""
        return len(self._places) - len(self.free)

    def begin(self, record: bytes, pending: Pending) -> bool:
        """Keep a span that has begun; said again, what has become of it.

        False if not now, as others are to look first. What has no room is counted, and is not told
        if its process is killed.
        """
        if monotonic() >= self._due[0]:
            return False
        size, place = len(record), pending.place
        if size > ROOM:
            record = shortened(record, ROOM)
            size = len(record)
            if not size:
                # One that has a shorter record here is told all the same.
                if place is None:
                    guard.count("recorder.not_in_table")
                return True
        check = crc32(record)
        if place is None:
            free = self.free
            if not free:
                self._grow()
                if not free:
                    guard.count("recorder.not_in_table")
                    return True
            # Without a call in between, so that none is lost (see `Pending`).
            place = free[-1]
            del free[-1]
            pending.place = place
        # While these differ it is not there, rather than half of either.
        place.body[:size] = record
        words = place.words
        words[0] = check << 32 | size
        words[1] = 0
        return True

    def let_go(self) -> None:
        """Change nothing any more: what has a place here is another process's to tell."""
        for place in self._places:
            place.words, place.body = _NOWHERE

    def _grow(self) -> None:
        """Twice as many places, while that is not too many and the disk has room for them."""
        with self._lock, suppress(OSError):
            count = len(self._places)
            if not self.free and count < MOST:
                # The same file: what is kept goes on in the old map.
                self._add(self._mapped(count * 2), count * 2)

    def _add(self, view: mmap.mmap, count: int) -> None:
        whole = memoryview(view)
        more = []
        for number in range(len(self._places), count):
            place = at(number)
            words = whole[place : place + ENTRY.size].cast("Q")
            body = whole[place + ENTRY.size : place + SIZE]
            more.append(Place(number, words, body, self.free))
        self._places += more
        # The last one is taken first.
        self.free += reversed(more)

    def _mapped(self, entries: int) -> mmap.mmap:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fallocate(fd, PAGE + entries * SIZE)
            # It has a descriptor of its own, and goes with the last place.
            return mmap.mmap(fd, PAGE + entries * SIZE)
        finally:
            os.close(fd)


def at(number: int) -> int:
    """The place of an entry in its file."""
    return PAGE + number * SIZE


def namespace() -> int:
    """What tells this process's pids from those of another container; 0 where nothing does."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116  no file's path
    return 0


def note_cause(directory: Path, pid: int, cause: Cause) -> int:
    """Write why a process ended into its table, whether it was taken over or not.

    Gives when it ended: now, or when the table was taken over, if it was.
    """
    at = time.time_ns()
    # In this order: a table that is set aside meanwhile is met under its new name.
    for pattern in (UNDER_WAY, LEFT):
        for path in directory.glob(f"*{pattern}"):
            with suppress(FileNotFoundError):
                at = _note_in(path, pid, cause, at)
    return at


def _note_in(path: Path, pid: int, cause: Cause, now: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        start = os.pread(fd, START.size, 0)
        if len(start) == START.size and START.unpack(start)[:3] == (MAGIC, pid, namespace()):
            now = START.unpack(start)[5] or now
            os.pwrite(fd, _note(cause, now), CAUSE)
    finally:
        os.close(fd)
    return now


def _note(cause: Cause, at: int) -> bytes:
    texts = [t.encode()[:_TEXT] for t in (cause.error_type, cause.message, cause.outcome)]
    body = b"".join(texts)
    return NOTE.pack(*map(len, texts), at, crc32(body)) + body
