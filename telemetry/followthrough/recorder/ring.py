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
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..disk import fallocate

MAGIC = b"FTRING02"
PAGE = 4096
# Native byte order and size: written by one store, so that it can't be seen by halves.
_WORD = struct.Struct("@Q")
_START = struct.Struct("@8sQ")  # the magic, and the bytes for records
HEAD = 64
# The head, and how many records it is past: sixteen bytes that one store writes.
_COMMIT = struct.Struct("@QQ")
DROPPED = HEAD + _COMMIT.size  # a word for each of REASONS
REASONS = ("full", "large", "interrupted", "removed", "unavailable")
GIVEN = DROPPED + _WORD.size * len(REASONS)  # numbers given to records, dropped ones too
_STATE = struct.Struct(f"@{3 + len(REASONS)}Q")
# The reader's, on a cache line of their own.
_READ = struct.Struct("@QQQQ")  # the tail; records exported, rejected, torn
TAIL = 256
_RECORD = struct.Struct("<IIQ")  # the length, a checksum, the number
_WRAP = 0xFFFFFFFF
_CHUNK = 1 << 16  # bytes read at once
_MOST_TRIES = 8


class Entry(Protocol):
    """What stands for a record until it is in the ring."""

    def ending(self, head: int) -> None:
        """The record is committed once the ring's head is there."""

    def end(self) -> None:
        """The record is kept, or counted as dropped; may be said twice."""


class Pending:
    """A record on its way into a ring, where it comes once, however often it is put in."""

    __slots__ = ("entry", "number", "payload", "tries")

    def __init__(self, payload: bytes = b"", entry: Entry | None = None) -> None:
        self.payload = payload
        self.entry = entry
        self.number: int | None = None
        self.tries = 0


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
    return _account(os.pread(fd, TAIL + _READ.size, 0))


def _account(header: bytes) -> Account:
    _, accepted, *counts, _ = _STATE.unpack_from(header, HEAD)
    _, exported, rejected, torn = _READ.unpack_from(header, TAIL)
    dropped = dict(zip(REASONS, counts, strict=True))
    return Account(accepted + sum(counts), exported, rejected, torn, dropped)


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
    held = _account(header).held
    if not 0 <= head - tail <= capacity:
        # Nothing that a writer leaves: both places can't be trusted, and begin anew together.
        return Batch([], held, head)
    return _walk(_Reader(fd), capacity, (tail, head), limit, held)


def _walk(file: _Reader, capacity: int, places: tuple[int, int], limit: int, held: int) -> Batch:
    payloads: list[bytes] = []
    torn, (at, head) = 0, places
    while at < head and (not payloads or at - places[0] < limit):
        left = capacity - at % capacity
        size = file.size(at % capacity) if left >= _RECORD.size else _WRAP
        if size == _WRAP:
            at += left
        elif _room(size) > min(left, head - at):
            # The length itself is torn: where the next record begins is not known.
            return Batch(payloads, max(torn + 1, held - len(payloads)), head)
        else:
            payload = file.payload(at % capacity, size)
            payloads += [] if payload is None else [payload]
            torn += payload is None
            at += _room(size)
    return Batch(payloads, torn, at)


class _Reader:
    """Reads records, many of them at once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begin = 0
        self._raw = b""

    def size(self, at: int) -> int:
        size: int = _RECORD.unpack(self._bytes(at, _RECORD.size))[0]
        return size

    def payload(self, at: int, size: int) -> bytes | None:
        """A record's content; None if it isn't what was written."""
        raw = self._bytes(at, _RECORD.size + size)
        _, checksum, number = _RECORD.unpack_from(raw)
        payload = raw[_RECORD.size :]
        return payload if checksum == _checksum(payload, number) else None

    def _bytes(self, at: int, size: int) -> bytes:
        begin = at - self._begin
        if begin < 0 or begin + size > len(self._raw):
            self._raw = os.pread(self._fd, max(size, _CHUNK), PAGE + at)
            self._begin, begin = at, 0
        return self._raw[begin : begin + size]


def settle(fd: int, batch: Batch, *, exported: int, rejected: int = 0) -> None:
    """Move the reader's place past a batch, by one write that a kill can't cut in two."""
    _, *counts = _READ.unpack(os.pread(fd, _READ.size, TAIL))
    new = (n + more for n, more in zip(counts, (exported, rejected, batch.torn), strict=True))
    os.pwrite(fd, _READ.pack(batch.end, *new), TAIL)


class Writer:
    """Puts records into a ring file, made if need be; raises OSError on a full disk.

    Only the process that holds the ring's slot may have one. An exception out of a signal's handler
    may cut it off at any call: a record that is put in again goes on where it was.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        fd = _opened(path, capacity)
        try:
            self._file = identity(fd)
            _, self._capacity = _START.unpack(os.pread(fd, _START.size, 0))
            # The map has a descriptor of its own.
            self._map = mmap.mmap(fd, PAGE + self._capacity)
        finally:
            os.close(fd)
        self._path = path
        # A signal's handler may record too, in the middle of a record.
        self._lock = threading.RLock()
        self._writing = self._retired = False
        self._waiting: deque[Pending] = deque()
        self._account_for_the_dead()

    def put(self, payload: bytes) -> None:
        """Append a record, or count it as dropped."""
        self.keep(Pending(payload))

    def keep(self, pending: Pending) -> bool:
        """Append a record, or count it as dropped; False if this writer is retired."""
        self._waiting.append(pending)
        with self._lock:
            if self._retired:
                pending.number = None
                return False
            if not self._writing:
                self._writing = True
                try:
                    self._write()
                finally:
                    self._writing = False
        return True

    def is_in_place(self) -> bool:
        """Whether the file is still where it was opened."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return (found.st_dev, found.st_ino) == self._file

    def retire(self) -> int:
        """Take no more; the number of records that nobody can read if the file is gone."""
        with self._lock:
            self._retired = True
            return _account(self._map[: TAIL + _READ.size]).held

    def lost(self, reason: str, number: int) -> None:
        """Count records that never came here, before any other is put in."""
        with self._lock:
            self._drop(reason, number)

    def _write(self) -> None:
        while self._waiting:
            pending = self._waiting[0]
            pending.tries += 1
            if pending.tries <= _MOST_TRIES:
                self._append(pending)
                if pending.entry is not None:
                    pending.entry.end()
            self._waiting.popleft()

    def _append(self, pending: Pending) -> None:
        # Read anew each time: this record, or the one before it, may have been cut off.
        view, capacity = self._map, self._capacity
        head, accepted, *dropped, _ = _STATE.unpack_from(view, HEAD)
        number = accepted + sum(dropped)
        if pending.number is None:
            pending.number = number
        elif pending.number < number:
            return
        _WORD.pack_into(view, GIVEN, number + 1)
        size, at = len(pending.payload), head % capacity
        room = _room(size)
        skipped = capacity - at if room > capacity - at else 0
        after = head + skipped + room
        if room > capacity // 4:
            self._drop("large")
        elif after - _WORD.unpack_from(view, TAIL)[0] > capacity:
            self._drop("full")
        else:
            if skipped:
                self._mark_the_end(at)
                at = 0
            at += PAGE
            payload = pending.payload
            _RECORD.pack_into(view, at, size, _checksum(payload, number), number)
            view[at + _RECORD.size : at + _RECORD.size + size] = payload
            if pending.entry is not None:
                pending.entry.ending(after)
            view[HEAD:DROPPED] = _COMMIT.pack(after, accepted + 1)

    def _mark_the_end(self, at: int) -> None:
        """Say that the record is at the file's beginning, where this place has room to say it."""
        if self._capacity - at >= _RECORD.size:
            _RECORD.pack_into(self._map, PAGE + at, _WRAP, 0, 0)

    def _drop(self, reason: str, number: int = 1) -> None:
        at = DROPPED + _WORD.size * REASONS.index(reason)
        _WORD.pack_into(self._map, at, _WORD.unpack_from(self._map, at)[0] + number)

    def _account_for_the_dead(self) -> None:
        """Count the number that a killed owner has given to a record it never finished."""
        _, accepted, *dropped, given = _STATE.unpack_from(self._map, HEAD)
        self._drop("interrupted", max(0, given - accepted - sum(dropped)))


def identity(fd: int) -> tuple[int, int]:
    """What tells an open file from another one of its name."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _opened(path: Path, capacity: int) -> int:
    """The file, whole; one that is none of ours is set aside, and an empty one may be replaced."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not os.fstat(fd).st_size:
            _make(fd, capacity)
        elif not is_ring(fd):
            path.replace(path.with_suffix(".broken"))
            return _opened_again(fd, path, capacity)
        elif _has_another_size(fd, capacity) and is_empty(fd) and _is_made_anew(fd, path, capacity):
            return _opened_again(fd, path, capacity)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _opened_again(fd: int, path: Path, capacity: int) -> int:
    again = _opened(path, capacity)
    os.close(fd)
    return again


def _has_another_size(fd: int, capacity: int) -> bool:
    return bool(_START.unpack(os.pread(fd, _START.size, 0))[1] != capacity)


def _is_made_anew(fd: int, path: Path, capacity: int) -> bool:
    """Replace an empty ring by one of another size, with its account, where the disk has room."""
    header = bytearray(os.pread(fd, PAGE, 0))
    _START.pack_into(header, 0, MAGIC, capacity)
    for place in (HEAD, TAIL):
        _WORD.pack_into(header, place, 0)
    fresh = path.with_suffix(".new")
    try:
        new = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            fallocate(new, PAGE + capacity)
            os.pwrite(new, header, 0)
        finally:
            os.close(new)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        return False
    return True


def _make(fd: int, capacity: int) -> None:
    try:
        fallocate(fd, PAGE + capacity)
        # Last: a file with this is whole.
        os.pwrite(fd, _START.pack(MAGIC, capacity), 0)
    except OSError:
        # Blocks that were had are given back: the disk is full.
        os.ftruncate(fd, 0)
        raise
