"""The spans that are under way in a process, in a file that outlives it.

Whoever takes a dead process's slot sets its table aside, and the agent ends what is still in it. A
span's entry is given up by the very store that commits its record to the ring (`ending`), so it is
never told twice.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..disk import fallocate
from . import ring

MAGIC = b"FTOPEN01"
PAGE = 4096
ENTRIES = 128
SIZE = 2048  # bytes for an entry
SUFFIX = ".open"
LEFT = ".left"
# The magic, the owner's pid, when its slot was taken over, and how long to wait for a cause (ns).
_START = struct.Struct("@8sQQQ")
_CAUSE = 512  # where the cause of the owner's end is noted: a length, a checksum, two texts
_NOTE = struct.Struct("<HHI")
_TEXT = 1000  # bytes of a cause
# A record's length, 0 in a free entry; its checksum; where the ring's head is once it has ended.
_ENTRY = struct.Struct("@IIQ")
_ENDING = struct.Struct("@Q")
_ENDING_AT = 8
_LENGTH = struct.Struct("@I")
_FREE = bytes(4)


@dataclass(frozen=True)
class Cause:
    """Why a process ended: an error's type, as in `error.type`, and a sentence."""

    error_type: str
    message: str


@dataclass(frozen=True)
class Left:
    """What a dead process has left: its unfinished records, and what is known of its end."""

    pid: int
    since: int  # nanoseconds since 1970
    patience: int  # nanoseconds in which its cause may still be noted
    cause: Cause | None
    records: list[bytes]


class Entry:
    """A span's place in its process's table, once it has one.

    Between two calls neither a signal's handler nor another thread comes in; so a place is had and
    given up without a call in between, and none is lost.
    """

    __slots__ = ("number", "table")

    def __init__(self) -> None:
        self.table: Table | None = None
        self.number = 0

    def ending(self, head: int) -> None:
        """Note where the ring's head will be when the span's record is committed."""
        if self.table is not None:
            _ENDING.pack_into(self.table.map, _at(self.number) + _ENDING_AT, head)

    def end(self) -> None:
        """Give the place up, if there is one."""
        at, table = _at(self.number), self.table
        if table is not None:
            self.table = None
            table.map[at : at + 4] = _FREE
            table.free[self.number] = None


class Table:
    """The entries of this process; raises OSError on a full disk.

    `patience` is how many seconds after its death whoever watches over it may note the cause.
    Only the process that holds the slot may have one.
    """

    def __init__(self, path: Path, patience: float) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fallocate(fd, PAGE + ENTRIES * SIZE)
            # It has a descriptor of its own, and goes with the last entry.
            self.map = mmap.mmap(fd, PAGE + ENTRIES * SIZE)
        finally:
            os.close(fd)
        self.map[:PAGE] = bytes(PAGE)
        for number in range(ENTRIES):
            self.map[_at(number) : _at(number) + len(_FREE)] = _FREE
        _START.pack_into(self.map, 0, MAGIC, os.getpid(), 0, int(patience * 1e9))
        self.free = dict.fromkeys(range(ENTRIES))

    def begin(self, record: bytes, entry: Entry) -> None:
        """Keep a span that has begun, where there is room; said again, what has become of it."""
        if len(record) > SIZE - _ENTRY.size:
            return
        if entry.table is None:
            for number in self.free:
                del self.free[number]
                entry.number, entry.table = number, self
                break
        if entry.table is not self:
            return
        at = _at(entry.number)
        # For an instant it is not there, rather than half of either.
        self.map[at : at + 4] = _FREE
        self.map[at + _ENTRY.size : at + _ENTRY.size + len(record)] = record
        _ENTRY.pack_into(self.map, at, 0, zlib.crc32(record), 0)
        _LENGTH.pack_into(self.map, at, len(record))


def _at(number: int) -> int:
    return PAGE + number * SIZE


def take_over(path: Path, ring_path: Path, now: int) -> None:
    """Set a dead owner's table aside if spans were under way; only with its slot's lock held."""
    try:
        raw = path.read_bytes()
    except OSError:
        return
    if _is_table(raw) and list(_unended(raw, _head(ring_path))):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _forget_the_ended(fd, raw, _head(ring_path))
            _, pid, _, patience = _START.unpack_from(raw)
            os.pwrite(fd, _START.pack(MAGIC, pid, now, patience), 0)
        finally:
            os.close(fd)
        path.replace(path.with_suffix(f".{now}{LEFT}"))
    else:
        path.unlink(missing_ok=True)


def _head(ring_path: Path) -> int:
    try:
        with ring_path.open("rb") as file:
            return ring.head_of(file.fileno())
    except OSError:
        return 0


def _is_table(raw: bytes) -> bool:
    return len(raw) >= PAGE + ENTRIES * SIZE and raw.startswith(MAGIC)


def _unended(raw: bytes, head: int) -> Iterator[int]:
    """The entries whose spans were under way, by their number."""
    for number in range(ENTRIES):
        size, _, ending = _ENTRY.unpack_from(raw, _at(number))
        if size and not 0 < ending <= head:
            yield number


def _forget_the_ended(fd: int, raw: bytes, head: int) -> None:
    kept = set(_unended(raw, head))
    for number in range(ENTRIES):
        if number not in kept:
            os.pwrite(fd, _FREE, _at(number))


def left(path: Path) -> Left | None:
    """What a table that was set aside holds; None if it is none."""
    raw = path.read_bytes()
    if not _is_table(raw):
        return None
    _, pid, since, patience = _START.unpack_from(raw)
    entries = (_record(raw, number) for number in range(ENTRIES))
    return Left(pid, since, patience, _cause(raw), [each for each in entries if each])


def _record(raw: bytes, number: int) -> bytes | None:
    at = _at(number)
    size, checksum, _ = _ENTRY.unpack_from(raw, at)
    record = raw[at + _ENTRY.size : at + _ENTRY.size + size]
    return record if size and zlib.crc32(record) == checksum else None


def _cause(raw: bytes) -> Cause | None:
    kind, text, checksum = _NOTE.unpack_from(raw, _CAUSE)
    body = raw[_CAUSE + _NOTE.size : _CAUSE + _NOTE.size + kind + text]
    if not body or zlib.crc32(body) != checksum:
        return None
    return Cause(body[:kind].decode(errors="replace"), body[kind:].decode(errors="replace"))


def note_cause(directory: Path, pid: int, cause: Cause) -> None:
    """Write why a process ended into its table, whether it was taken over or not."""
    kind, text = cause.error_type.encode()[:_TEXT], cause.message.encode()[:_TEXT]
    note = _NOTE.pack(len(kind), len(text), zlib.crc32(kind + text)) + kind + text
    # In this order: a table that is set aside meanwhile is met under its new name.
    for pattern in (SUFFIX, LEFT):
        for path in directory.glob(f"*{pattern}"):
            with suppress(FileNotFoundError):
                _note_in(path, pid, note)


def find(directory: Path, pid: int, text: bytes) -> bytes | None:
    """A process's record under way in which a text stands, whether it is dead or alive."""
    for pattern in (SUFFIX, LEFT):
        for path in directory.glob(f"*{pattern}"):
            with suppress(OSError):
                raw = path.read_bytes()
                if _is_table(raw) and _START.unpack_from(raw)[1] == pid:
                    records = (_record(raw, number) for number in range(ENTRIES))
                    return next((each for each in records if each and text in each), None)
    return None


def _note_in(path: Path, pid: int, note: bytes) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        start = os.pread(fd, _START.size, 0)
        if len(start) == _START.size and _START.unpack(start)[:2] == (MAGIC, pid):
            os.pwrite(fd, note, _CAUSE)
    finally:
        os.close(fd)
