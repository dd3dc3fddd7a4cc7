"""Puts records into a ring's file, so that what was put in outlives its process."""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from pathlib import Path
from typing import Protocol

from ..disk import fallocate
from .ring import (
    COMMIT,
    DROPPED,
    GIVEN,
    HEAD,
    MAGIC,
    PAGE,
    READ,
    REASONS,
    RECORD,
    START,
    STATE,
    TAIL,
    WORD,
    WRAP,
    account_in,
    checksum,
    identity,
    is_empty,
    is_ring,
    room_for,
)

_MOST_TRIES = 8


class Entry(Protocol):
    """What stands for a record until it is in the ring."""

    def ending(self, head: int) -> None:
        """The record is committed once the ring's head is there."""

    def end(self) -> None:
        """The record is kept, or counted as dropped; may be said twice."""


class Pending:
    """A record on its way into a ring, where it comes once, however often it is put in."""

    __slots__ = ("entry", "is_kept", "number", "payload", "tries")

    def __init__(self, payload: bytes = b"", entry: Entry | None = None) -> None:
        self.payload = payload
        self.entry = entry
        self.number: int | None = None
        self.is_kept = False
        self.tries = 0


class Writer:
    """Puts records into a ring file, made if need be; raises OSError on a full disk.

    Only the process that holds the ring's slot may have one. An exception out of a signal's handler
    may cut it off at any call: a record that is put in again goes on where it was.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        fd = _opened(path, capacity)
        try:
            self._file = identity(fd)
            _, self._capacity = START.unpack(os.pread(fd, START.size, 0))
            self._largest = self._capacity // 4
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
        waiting = self._waiting
        waiting.append(pending)
        with self._lock:
            if self._retired:
                pending.number = None
                return False
            # A signal's handler may be recording in the middle of a record.
            if not self._writing:
                self._writing = True
                try:
                    while waiting:
                        self._append(waiting[0])
                        waiting.popleft()
                finally:
                    self._writing = False
        return True

    def offer(self, pending: Pending) -> bool:
        """Append a record if there is room for it; if not, it never was here."""
        with self._lock:
            if pending.is_kept:
                return True
            if self._place(WORD.unpack_from(self._map, HEAD)[0], len(pending.payload))[2]:
                return False
            return self.keep(pending) and pending.is_kept

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
            return account_in(self._map[: TAIL + READ.size]).held

    def lost(self, reason: str, number: int) -> None:
        """Count records that never came here, before any other is put in."""
        with self._lock:
            self._drop(reason, number)

    def _append(self, pending: Pending) -> None:
        pending.tries += 1
        if pending.tries > _MOST_TRIES:
            return
        # Read anew each time: this record, or the one before it, may have been cut off.
        view, entry, payload = self._map, pending.entry, pending.payload
        state = STATE.unpack_from(view, HEAD)
        # All that were accepted, or dropped for one of the reasons.
        number = sum(state[1:-1])
        if pending.number is None:
            pending.number = number
        if pending.number >= number:
            WORD.pack_into(view, GIVEN, number + 1)
            at, after, reason = self._place(state[0], len(payload))
            if reason:
                self._drop(reason)
            else:
                size = len(payload)
                RECORD.pack_into(view, at, size, checksum(payload, number), number)
                at += RECORD.size
                view[at : at + size] = payload
                if entry is not None:
                    entry.ending(after)
                view[HEAD:DROPPED] = COMMIT.pack(after, state[1] + 1)
                pending.is_kept = True
        if entry is not None:
            entry.end()

    def _place(self, head: int, size: int) -> tuple[int, int, str]:
        """Where a record begins, the head after it, or why it can't be."""
        capacity, room = self._capacity, room_for(size)
        at = head % capacity
        # Else it is at the file's beginning.
        fits = at + room <= capacity
        after = head + room if fits else head + room + capacity - at
        if after - WORD.unpack_from(self._map, TAIL)[0] > capacity or room > self._largest:
            return 0, after, "large" if room > self._largest else "full"
        if not fits:
            self._mark_the_end(at)
            at = 0
        return PAGE + at, after, ""

    def _mark_the_end(self, at: int) -> None:
        """Say that the record is at the file's beginning, where this place has room to say it."""
        if self._capacity - at >= RECORD.size:
            RECORD.pack_into(self._map, PAGE + at, WRAP, 0, 0)

    def _drop(self, reason: str, number: int = 1) -> None:
        at = DROPPED + WORD.size * REASONS.index(reason)
        WORD.pack_into(self._map, at, WORD.unpack_from(self._map, at)[0] + number)

    def _account_for_the_dead(self) -> None:
        """Count the number that a killed owner has given to a record it never finished."""
        _, accepted, *dropped, given = STATE.unpack_from(self._map, HEAD)
        self._drop("interrupted", max(0, given - accepted - sum(dropped)))


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
    return bool(START.unpack(os.pread(fd, START.size, 0))[1] != capacity)


def _is_made_anew(fd: int, path: Path, capacity: int) -> bool:
    """Replace an empty ring by one of another size, with its account, where the disk has room."""
    header = bytearray(os.pread(fd, PAGE, 0))
    START.pack_into(header, 0, MAGIC, capacity)
    for place in (HEAD, TAIL):
        WORD.pack_into(header, place, 0)
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
        os.pwrite(fd, START.pack(MAGIC, capacity), 0)
    except OSError:
        # Blocks that were had are given back: the disk is full.
        os.ftruncate(fd, 0)
        raise
