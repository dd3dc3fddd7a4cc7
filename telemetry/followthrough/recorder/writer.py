"""Puts records into a ring's file, so that what was put in outlives its process."""

from __future__ import annotations

import math
import mmap
import os
from pathlib import Path
from time import monotonic
from zlib import crc32

from ..disk import fallocate
from ..forks import Cell
from .pending import KEPT, Pending
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
    identity,
    is_empty,
    is_ring,
    room_for,
)

# The places of what the header holds, in words.
_HEAD, _ACCEPTED, _GIVEN, _TAIL = (
    place // WORD.size for place in (HEAD, HEAD + WORD.size, GIVEN, TAIL)
)
_DROPPED = {reason: DROPPED // WORD.size + n for n, reason in enumerate(REASONS)}
_COMMITTED = slice(HEAD, HEAD + COMMIT.size)
_SIZE = RECORD.size
_UP = _SIZE + 7  # for `room_for`, in place
_MARK = RECORD.pack(WRAP, 0, 0)
_pack, _commit = RECORD.pack, COMMIT.pack


class Writer:
    """Puts records into a ring file, made if need be; raises OSError on a full disk.

    Only the process that holds the ring's slot may have one. An exception out of a signal's handler
    may cut it off at any call: a record that is put in again is there once.
    """

    def __init__(self, path: Path, capacity: int, due: Cell | None = None) -> None:
        # When somebody is to look at the files, before more is put in.
        self._due: Cell = [math.inf] if due is None else due
        fd = _opened(path, capacity)
        try:
            self._file = identity(fd)
            _, self._capacity = START.unpack(os.pread(fd, START.size, 0))
            self._largest = self._capacity // 4
            # The map has a descriptor of its own.
            self._map = mmap.mmap(fd, PAGE + self._capacity)
        finally:
            os.close(fd)
        # A word is read and written without a call, and by one store.
        self._words = memoryview(self._map)[:PAGE].cast("Q")
        # A record that ends before this is not too large, has room, and is in one piece.
        self._limit = 0
        self._path = path
        self._retired = False
        self._account_for_the_dead()

    def put(self, payload: bytes) -> None:
        """Append a record, or count it as dropped."""
        self.keep(Pending(payload))

    def keep(self, pending: Pending) -> bool:
        """Append a record, or count it as dropped; False if not now, as others are to look first.

        All is made ready for the place that is next; whoever finds then that another record was
        given it meanwhile begins again. In one function, as it runs for each record of the host.
        """
        if monotonic() >= self._due[0]:
            return False
        words, payload = self._words, pending.payload
        size = len(payload)
        while not pending.fate:
            number, head = words[_GIVEN], words[_HEAD]
            after = head + (size + _UP & -8)
            if after <= self._limit:
                at = PAGE + head % self._capacity
            else:
                if self._retired:
                    return False
                at, after = self._place(pending, number, head)
                if not at:
                    continue
            record = _pack(size, crc32(payload, number), number) + payload
            where = slice(at, at + _SIZE + size)
            committed = _commit(after, words[_ACCEPTED] + 1)
            place = pending.place
            # From here on there is no call: only a kill comes in.
            if words[_GIVEN] != number:
                continue
            if self._retired:
                return False
            words[_GIVEN] = number + 1
            self._map[where] = record
            if place is not None:
                # The store that commits the record says too that its span has ended.
                place.words[1] = after
            self._map[_COMMITTED] = committed
            pending.fate = KEPT
            if place is not None:
                pending.place = None
                place.free.append(place)
            return True
        pending.leave()
        return True

    def offer(self, pending: Pending) -> bool:
        """Append a record if there is room for it; if not, it never was here."""
        pending.is_counted = False
        return self.keep(pending) and pending.fate == KEPT

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
        self._retired = True
        return account_in(self._map[: TAIL + READ.size]).held

    def lost(self, reason: str, number: int) -> None:
        """Count records that never came here."""
        self._words[_GIVEN] += number
        self._words[_DROPPED[reason]] += number

    def _place(self, pending: Pending, number: int, head: int) -> tuple[int, int]:
        """Where the record begins and the head after it; zeros where it can't be."""
        words, capacity = self._words, self._capacity
        room, tail, at = room_for(len(pending.payload)), words[_TAIL], head % capacity
        left = capacity - at
        # A record is in one piece: what doesn't fit at the file's end is at its beginning.
        after = head + room + (left if room > left else 0)
        if room > self._largest or after - tail > capacity:
            self._drop(pending, number, "large" if room > self._largest else "full")
            return 0, 0
        if room > left:
            self._mark_the_end(at, number)
            return PAGE, after
        self._limit = min(tail + capacity, head + left, head + self._largest)
        return PAGE + at, after

    def _mark_the_end(self, at: int, number: int) -> None:
        """Say that the record is at the file's beginning, where this place has room to say it."""
        where = slice(PAGE + at, PAGE + at + _SIZE)
        # Without a call, as the place is another record's if that has come meanwhile.
        if self._capacity - at >= _SIZE and self._words[_GIVEN] == number and not self._retired:
            self._map[where] = _MARK

    def _drop(self, pending: Pending, number: int, reason: str) -> None:
        words, counter = self._words, _DROPPED[reason]
        # Without a call, as above.
        if words[_GIVEN] == number and not self._retired:
            if pending.is_counted:
                words[_GIVEN] = number + 1
                words[counter] += 1
            pending.fate = reason

    def _account_for_the_dead(self) -> None:
        """Count the number that a killed owner has given to a record it never finished."""
        _, accepted, *dropped, given = STATE.unpack_from(self._map, HEAD)
        settled = accepted + sum(dropped)
        if given > settled:
            self._words[_DROPPED["interrupted"]] += given - settled
        else:
            self._words[_GIVEN] = settled


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
