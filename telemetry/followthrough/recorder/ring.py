"""A ring of records in a file: one process writes it, one reads it, either may be killed.

A record is there once the writer has moved `head` past it, which is one store and its last one; so
a killed writer leaves whole records, and at most a number that was given and not used. The reader
keeps how far it is in the same file. Both positions only grow; the place in the file is their
remainder. The file's blocks are reserved before it is mapped, since a write to a mapped page that
the disk has no room for ends the process, and it is read by pread for the same reason.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..disk import fallocate

Before = Callable[[int], None]

MAGIC = b"FTRING01"
PAGE = 4096
# Native byte order and size: written by one store, so that it can't be seen by halves.
_WORD = struct.Struct("@Q")
_START = struct.Struct("@8sQ")  # the magic, and the bytes for records
HEAD = 64
GIVEN = 72  # numbers given to records so far, those of dropped ones too
DROPPED = 80  # a word for each of REASONS
REASONS = ("full", "large", "interrupted")
# The reader's, on a cache line of their own.
_READ = struct.Struct("@QQQQ")  # the tail; records exported, rejected, torn
TAIL = 256
_RECORD = struct.Struct("<IIQ")  # the length, a checksum, the number
_WRAP = 0xFFFFFFFF


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


def _checksum(payload: bytes, number: int) -> int:
    return zlib.crc32(payload, number & 0xFFFFFFFF)


def _room(size: int) -> int:
    """The bytes that a record of so many takes."""
    return (_RECORD.size + size + 7) & ~7


@dataclass(frozen=True)
class Batch:
    """Records that follow the reader's place, and the place after them."""

    payloads: list[bytes]
    torn: int
    end: int


def is_ring(fd: int) -> bool:
    """Whether the open file is a whole ring."""
    start = os.pread(fd, _START.size, 0)
    if len(start) < _START.size:
        return False
    magic, capacity = _START.unpack(start)
    return bool(magic == MAGIC and os.fstat(fd).st_size >= PAGE + capacity)


def account_of(fd: int) -> Account:
    """What became of all records that were ever put into the ring."""
    header = os.pread(fd, TAIL + _READ.size, 0)
    _, exported, rejected, torn = _READ.unpack_from(header, TAIL)
    counts = [_WORD.unpack_from(header, DROPPED + _WORD.size * n)[0] for n in range(len(REASONS))]
    dropped = dict(zip(REASONS, counts, strict=True))
    return Account(_WORD.unpack_from(header, GIVEN)[0], exported, rejected, torn, dropped)


def head_of(fd: int) -> int:
    """The place after the last record."""
    head: int = _WORD.unpack(os.pread(fd, _WORD.size, HEAD))[0]
    return head


def is_empty(fd: int) -> bool:
    """Whether the reader has caught up with the writer."""
    header = os.pread(fd, TAIL + _WORD.size, 0)
    return bool(_WORD.unpack_from(header, HEAD) == _WORD.unpack_from(header, TAIL))


def read(fd: int, limit: int) -> Batch:
    """The records that wait, at least one and then as many as `limit` bytes hold."""
    header = os.pread(fd, TAIL + _READ.size, 0)
    _, capacity = _START.unpack_from(header)
    tail, head = _WORD.unpack_from(header, TAIL)[0], _WORD.unpack_from(header, HEAD)[0]
    if not 0 <= head - tail <= capacity:
        # Nothing that a writer leaves: both places can't be trusted, and begin anew together.
        return Batch([], 0, head)
    return _walk(fd, capacity, tail, head, limit)


def _walk(fd: int, capacity: int, at: int, head: int, limit: int) -> Batch:
    payloads: list[bytes] = []
    torn, begin = 0, at
    while at < head and (not payloads or at - begin < limit):
        left = capacity - at % capacity
        size = _size(fd, at % capacity) if left >= _RECORD.size else _WRAP
        if size == _WRAP:
            at += left
        elif _room(size) > min(left, head - at):
            # The length itself is torn: where the next record begins is not known.
            return Batch(payloads, torn + 1, head)
        else:
            payload = _payload(fd, at % capacity, size)
            payloads += [] if payload is None else [payload]
            torn += payload is None
            at += _room(size)
    return Batch(payloads, torn, at)


def _size(fd: int, at: int) -> int:
    size: int = _RECORD.unpack(os.pread(fd, _RECORD.size, PAGE + at))[0]
    return size


def _payload(fd: int, at: int, size: int) -> bytes | None:
    """A record's content; None if it isn't what was written."""
    raw = os.pread(fd, _RECORD.size + size, PAGE + at)
    _, checksum, number = _RECORD.unpack_from(raw)
    payload = raw[_RECORD.size :]
    return payload if checksum == _checksum(payload, number) else None


def settle(fd: int, batch: Batch, *, exported: int, rejected: int = 0) -> None:
    """Move the reader's place past a batch, by one write that a kill can't cut in two."""
    _, *counts = _READ.unpack(os.pread(fd, _READ.size, TAIL))
    new = (n + more for n, more in zip(counts, (exported, rejected, batch.torn), strict=True))
    os.pwrite(fd, _READ.pack(batch.end, *new), TAIL)


class Writer:
    """Puts records into a ring file, made if need be; raises OSError on a full disk.

    Only the process that holds the ring's slot may have one.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        self._fd = _opened(path, capacity)
        _, self._capacity = _START.unpack(os.pread(self._fd, _START.size, 0))
        self._map = mmap.mmap(self._fd, PAGE + self._capacity)
        # A signal's handler may record too, in the middle of a record.
        self._lock = threading.RLock()
        self._writing = False
        self._late: deque[tuple[bytes, Before | None]] = deque()
        self._account_for_the_dead()

    def put(self, payload: bytes, before: Before | None = None) -> None:
        """Append a record, or count it as dropped.

        `before` is called with the place after the record just before it is committed.
        """
        with self._lock:
            if self._writing:
                self._late.append((payload, before))
                return
            self._writing = True
            try:
                self._append(payload, before)
                while self._late:
                    self._append(*self._late.popleft())
            finally:
                self._writing = False

    def close(self) -> None:
        """Unmap and close the file."""
        self._map.close()
        os.close(self._fd)

    def _append(self, payload: bytes, before: Before | None) -> None:
        # Read anew each time: an exception out of a signal's handler may have cut off the last one.
        view, capacity, size = self._map, self._capacity, len(payload)
        head, number = _WORD.unpack_from(view, HEAD)[0], _WORD.unpack_from(view, GIVEN)[0]
        room, at = _room(size), head % capacity
        skipped = capacity - at if room > capacity - at else 0
        after = head + skipped + room
        _WORD.pack_into(view, GIVEN, number + 1)
        if room > capacity // 4:
            return self._drop("large")
        if after - _WORD.unpack_from(view, TAIL)[0] > capacity:
            return self._drop("full")
        if skipped:
            self._mark_the_end(at)
            at = 0
        at += PAGE
        _RECORD.pack_into(view, at, size, _checksum(payload, number), number)
        view[at + _RECORD.size : at + _RECORD.size + size] = payload
        if before is not None:
            before(after)
        _WORD.pack_into(view, HEAD, after)
        return None

    def _mark_the_end(self, at: int) -> None:
        """Say that the record is at the file's beginning, where this place has room to say it."""
        if self._capacity - at >= _RECORD.size:
            _RECORD.pack_into(self._map, PAGE + at, _WRAP, 0, 0)

    def _drop(self, reason: str) -> None:
        at = DROPPED + _WORD.size * REASONS.index(reason)
        _WORD.pack_into(self._map, at, _WORD.unpack_from(self._map, at)[0] + 1)

    def _account_for_the_dead(self) -> None:
        """Count the numbers that a killed owner has given to records it never finished."""
        while True:
            account = account_of(self._fd)
            held = len(read(self._fd, self._capacity).payloads)
            # The agent may have read on meanwhile.
            if account == account_of(self._fd):
                break
        for _ in range(account.held - held):
            self._drop("interrupted")


def _opened(path: Path, capacity: int) -> int:
    """The file, whole; one that is none of ours is set aside."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(fd).st_size and not is_ring(fd):
            path.replace(path.with_suffix(".broken"))
            os.close(fd)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not os.fstat(fd).st_size:
            _make(fd, capacity)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _make(fd: int, capacity: int) -> None:
    try:
        fallocate(fd, PAGE + capacity)
        # Last: a file with this is whole.
        os.pwrite(fd, _START.pack(MAGIC, capacity), 0)
    except OSError:
        # Blocks that were had are given back: the disk is full.
        os.ftruncate(fd, 0)
        raise
