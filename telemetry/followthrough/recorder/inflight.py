"""The spans that are under way in a process, in a file that outlives it.

Whoever takes a dead process's slot sets its table aside (`left`), and the agent ends what is still
in it. A span's entry is given up by the very store that commits its record to the ring (`ending`),
so it is never told twice.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from .. import guard
from ..disk import fallocate
from ..outcome import Kind
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
# A record's length, 0 in a free entry; its checksum; where the ring's head is once it has ended.
ENTRY = struct.Struct("@IIQ")
_ENDING = struct.Struct("@Q")
_ENDING_AT = 8
_LENGTH = struct.Struct("@I")
_UNENDED = struct.Struct("=IQ")  # the rest of an ENTRY whose span has not ended
FREE = bytes(4)
ROOM = SIZE - ENTRY.size


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


class Entry:
    """A span's place in its process's table, once it has one.

    Between two calls neither a signal's handler nor another thread comes in; so a place is had and
    given up without a call in between, and none is lost.
    """

    table: Table | None = None
    number = 0

    def ending(self, head: int) -> None:
        """Note where the ring's head will be when the span's record is committed."""
        if self.table is not None:
            _ENDING.pack_into(self.table.map, PAGE + self.number * SIZE + _ENDING_AT, head)

    def end(self) -> None:
        """Give the place up, if there is one."""
        place, table = PAGE + self.number * SIZE, self.table
        if table is not None:
            self.table = None
            table.map[place : place + 4] = FREE
            table.free[self.number] = None


class Table:
    """The entries of this process; raises OSError on a full disk.

    Only the process that holds the slot may have one.
    """

    def __init__(self, path: Path, watcher: Watcher) -> None:
        self._path = path
        self._count = ENTRIES
        self._lock = threading.RLock()
        self.map = self._mapped(ENTRIES)
        self.map[:PAGE] = bytes(PAGE)
        for number in range(ENTRIES):
            self.map[at(number) : at(number) + len(FREE)] = FREE
        patience = int(watcher.seconds * 1e9)
        START.pack_into(self.map, 0, MAGIC, os.getpid(), namespace(), watcher.pid, patience, 0, 0)
        self.free = dict.fromkeys(range(ENTRIES))

    def begin(self, record: bytes, entry: Entry) -> None:
        """Keep a span that has begun; said again, what has become of it.

        What has no room is counted, and is not told if its process is killed.
        """
        size, free, view = len(record), self.free, self.map
        if size > ROOM or (entry.table is None and not free):
            record, free, view = self._with_room(record)
            size = len(record)
        if entry.table is None and size:
            for number in free:
                del free[number]
                entry.number, entry.table = number, self
                break
        if entry.table is not self or not size:
            # One of the parent's, or one that has a shorter record here, is told all the same.
            if entry.table is None:
                guard.count("recorder.not_in_table")
            return
        place = PAGE + entry.number * SIZE
        # For an instant it is not there, rather than half of either.
        view[place : place + 4] = FREE
        view[place + 4 : place + 16 + size] = _UNENDED.pack(crc32(record), 0) + record
        view[place : place + 4] = _LENGTH.pack(size)

    def _with_room(self, record: bytes) -> tuple[bytes, dict[int, None], mmap.mmap]:
        """A record that fits, and the places that are free once there are more."""
        if not self.free:
            self._grow()
        short = shortened(record, ROOM) if len(record) > ROOM else record
        return short, self.free, self.map

    def _grow(self) -> None:
        """Twice as many entries, while that is not too many and the disk has room for them."""
        with self._lock, suppress(OSError):
            if self.free or self._count >= MOST:
                return
            # The same file: entries that are kept go on in the new map.
            self.map = self._mapped(self._count * 2)
            more = dict.fromkeys(range(self._count, self._count * 2))
            self._count *= 2
            self.free.update(more)

    def _mapped(self, entries: int) -> mmap.mmap:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fallocate(fd, PAGE + entries * SIZE)
            # It has a descriptor of its own, and goes with the last entry.
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
