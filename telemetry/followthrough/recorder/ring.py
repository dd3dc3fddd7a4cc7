"""A ring of records in a file: one process writes it, one reads it, either may be killed.

A record is there once the writer has moved `head` past it, which is one store and its last one; so
a killed writer leaves whole records, and at most a number that was given and not used. The reader
keeps how far it is in the same file. Both positions only grow; the place in the file is their
remainder. The file's blocks are reserved before it is mapped, since a write to a mapped page that
the disk has no room for ends the process, and it is read by pread for the same reason.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"FTRING03"
PAGE = 4096
# Native byte order and size: written by one store, so that it can't be seen by halves.
WORD = struct.Struct("@Q")
START = struct.Struct("@8sQ")  # the magic, and the bytes for records
HEAD = 64
# The head, and how many records it is past: sixteen bytes that one store writes.
COMMIT = struct.Struct("@QQ")
DROPPED = HEAD + COMMIT.size  # a word for each of REASONS
REASONS = ("full", "large", "interrupted", "removed", "unavailable")
GIVEN = DROPPED + WORD.size * len(REASONS)  # numbers given to records, dropped ones too
STATE = struct.Struct(f"@{3 + len(REASONS)}Q")
# The reader's, on a cache line of their own.
READ = struct.Struct("@QQQQ")  # the tail; records exported, rejected, torn
TAIL = 256
RECORD = struct.Struct("<IIQ")  # the length, a checksum, the number
WRAP = 0xFFFFFFFF
_CHUNK = 1 << 16  # bytes read at once


@dataclass(frozen=True)
class Account:
    """What became of the records of a ring: produced is the sum of all others."""

    produced: int
    exported: int
    rejected: int
    torn: int
    dropped: dict[str, int]

    @property
    def held(self) -> int:
        gone = self.exported + self.rejected + self.torn + sum(self.dropped.values())
        return max(0, self.produced - gone)


def checksum(payload: bytes, number: int) -> int:
    return zlib.crc32(payload, number & 0xFFFFFFFF)


def room_for(size: int) -> int:
    """The bytes that a record of so many takes."""
    return (RECORD.size + size + 7) & ~7


@dataclass(frozen=True)
class Batch:
    """Records that follow the reader's place, and the place after them."""

    payloads: list[bytes]
    torn: int
    end: int


def is_ring(fd: int) -> bool:
    """Whether the open file is a whole ring."""
    start = os.pread(fd, START.size, 0)
    if len(start) < START.size:
        return False
    magic, capacity = START.unpack(start)
    return bool(magic == MAGIC and os.fstat(fd).st_size >= PAGE + capacity)


def account_of(fd: int) -> Account:
    """What became of all records that were ever put into the ring."""
    return account_in(os.pread(fd, TAIL + READ.size, 0))


def account_in(header: bytes) -> Account:
    _, accepted, *counts, _ = STATE.unpack_from(header, HEAD)
    _, exported, rejected, torn = READ.unpack_from(header, TAIL)
    dropped = dict(zip(REASONS, counts, strict=True))
    return Account(accepted + sum(counts), exported, rejected, torn, dropped)


def head_of(fd: int) -> int:
    """The place after the last record."""
    head: int = WORD.unpack(os.pread(fd, WORD.size, HEAD))[0]
    return head


def is_empty(fd: int) -> bool:
    """Whether the reader has caught up with the writer."""
    header = os.pread(fd, TAIL + WORD.size, 0)
    return bool(WORD.unpack_from(header, HEAD) == WORD.unpack_from(header, TAIL))


def is_waiting(path: Path) -> bool:
    """Whether records seem to wait in a ring: a short look, for one that is mostly empty."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        header = os.pread(fd, TAIL + WORD.size, 0)
    finally:
        os.close(fd)
    return header[HEAD : HEAD + WORD.size] != header[TAIL:]


def read(fd: int, limit: int) -> Batch:
    """The records that wait, at least one and then as many as `limit` bytes hold."""
    header = os.pread(fd, TAIL + READ.size, 0)
    _, capacity = START.unpack_from(header)
    tail, head = WORD.unpack_from(header, TAIL)[0], WORD.unpack_from(header, HEAD)[0]
    held = account_in(header).held
    if not 0 <= head - tail <= capacity:
        # Nothing that a writer leaves: both places can't be trusted, and begin anew together.
        return Batch([], held, head)
    return _walk(fd, capacity, (tail, head), limit, held)


def _walk(fd: int, capacity: int, places: tuple[int, int], limit: int, held: int) -> Batch:
    """Read records from a place to another; in one loop, as it runs for each record of the host."""
    payloads: list[bytes] = []
    torn, (at, head), end = 0, places, places[0] + limit
    raw, begin = b"", 0  # a chunk of the file, and where in it that begins
    while at < head and (not payloads or at < end):
        place = at % capacity
        left = capacity - place
        if left < RECORD.size:
            at += left
            continue
        if not begin <= place <= begin + len(raw) - RECORD.size:
            raw, begin = os.pread(fd, _CHUNK, PAGE + place), place
        size, kept, number = RECORD.unpack_from(raw, place - begin)
        if size == WRAP:
            at += left
            continue
        room = room_for(size)
        if room > left or room > head - at:
            # The length itself is torn: where the next record begins is not known.
            return Batch(payloads, max(torn + 1, held - len(payloads)), head)
        body = place - begin + RECORD.size
        if body + size > len(raw):
            raw, begin = os.pread(fd, max(RECORD.size + size, _CHUNK), PAGE + place), place
            body = RECORD.size
        payload = raw[body : body + size]
        if kept == checksum(payload, number):
            payloads.append(payload)
        else:
            torn += 1
        at += room
    return Batch(payloads, torn, at)


def settle(fd: int, batch: Batch, *, exported: int, rejected: int = 0) -> None:
    """Move the reader's place past a batch, by one write that a kill can't cut in two."""
    _, *counts = READ.unpack(os.pread(fd, READ.size, TAIL))
    new = (n + more for n, more in zip(counts, (exported, rejected, batch.torn), strict=True))
    os.pwrite(fd, READ.pack(batch.end, *new), TAIL)


def identity(fd: int) -> tuple[int, int]:
    """What tells an open file from another one of its name."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


@contextmanager
def opened(path: Path, mode: int = os.O_RDWR) -> Iterator[int | None]:
    """The ring's descriptor; None for one that is not whole, or gone."""
    try:
        fd = os.open(path, mode | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield fd if is_ring(fd) else None
    finally:
        os.close(fd)
