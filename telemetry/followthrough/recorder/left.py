"""What dead processes have left under way: their tables, set aside until the agent tells them."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from ..outcome import TELLING
from . import ring
from .inflight import CAUSE, ENTRY, FREE, MAGIC, NOTE, PAGE, SIZE, START, Cause, at, namespace
from .places import LEFT, SPANS, UNDER_WAY, folder
from .shorten import is_run


@dataclass(frozen=True)
class Left:
    """What a dead process has left: its unfinished records by their entry, and what is known of it.

    `since` is when its slot was taken over, and `until` how long its cause may still be noted
    (nanoseconds since 1970).
    """

    pid: int
    since: int
    until: int
    cause: Cause | None
    records: dict[int, bytes]


def take_over_slot(slots: Path, number: int) -> None:
    """Set aside what the last owner of a slot left, for a process that has just taken it."""
    rings = folder(slots.parent)
    # Whoever has use for the slot alone, to count in, say, is not to fail for this.
    with suppress(OSError):
        take_over(rings / f"{number}{UNDER_WAY}", rings / f"{number}{SPANS}", time.time_ns())


def take_over(path: Path, ring_path: Path, now: int) -> None:
    """Set a dead owner's table aside if spans were under way; only with its slot's lock held."""
    try:
        raw = path.read_bytes()
    except OSError:
        return
    head = _head(ring_path)
    if _is_table(raw) and any(_unended(raw, head)):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.pwrite(fd, START.pack(*START.unpack_from(raw)[:5], now, head), 0)
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


def find(directory: Path, pid: int, task_id: bytes) -> bytes | None:
    """The record of a task's run that is under way in a process, dead or alive; in any if 0."""
    for what in (UNDER_WAY, LEFT):
        for path in directory.glob(f"*{what}"):
            with suppress(OSError):
                raw = path.read_bytes()
                if not _is_table(raw) or not _is_of(raw, pid):
                    continue
                # After the table: what has ended by then is told by its ring.
                for _, each in _unended(raw, _head_of(path, raw)):
                    if task_id in each and is_run(each):
                        return each
    return None


def _head_of(path: Path, raw: bytes) -> int:
    """Where the ring's head is, or was when the table was set aside."""
    if path.suffix == LEFT:
        return int(START.unpack_from(raw)[6])
    return _head(path.with_suffix(SPANS))


def _is_of(raw: bytes, pid: int) -> bool:
    return not pid or START.unpack_from(raw)[1:3] == (pid, namespace())


def _is_table(raw: bytes) -> bool:
    return len(raw) >= PAGE and raw.startswith(MAGIC)


def _unended(raw: bytes, head: int) -> Iterator[tuple[int, bytes]]:
    """The entries whose spans were under way: their numbers and records, torn ones left out."""
    for number in range((len(raw) - PAGE) // SIZE):
        said, ending = ENTRY.unpack_from(raw, at(number))
        if said and not 0 < ending <= head:
            place = at(number) + ENTRY.size
            record = raw[place : place + (said & 0xFFFFFFFF)]
            if zlib.crc32(record) == said >> 32:
                yield number, record


def read(path: Path) -> Left | None:
    """What a table that was set aside holds; None if it is none."""
    raw = path.read_bytes()
    if not _is_table(raw):
        return None
    _, pid, where, watcher, patience, since, head = START.unpack_from(raw)
    until = since + patience if _may_live(watcher, where) else 0
    return Left(pid, since, until, _cause(raw), dict(_unended(raw, head)))


def told(path: Path, number: int) -> None:
    """Forget an entry: another agent that goes on with this table tells it no more."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(fd, FREE, at(number))
    finally:
        os.close(fd)


def _may_live(watcher: int, where: int) -> bool:
    """Whether the process that would note the cause is there; one elsewhere can't be asked for."""
    if not watcher:
        return False
    if where != namespace():
        return True
    try:
        os.kill(watcher, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _cause(raw: bytes) -> Cause | None:
    *lengths, at, checksum = NOTE.unpack_from(raw, CAUSE)
    place = CAUSE + NOTE.size
    body = raw[place : place + sum(lengths)]
    if not body or zlib.crc32(body) != checksum:
        return None
    kind, message, outcome = _texts(body, lengths)
    return Cause(kind, message, outcome if outcome in TELLING else "lost", at)


def _texts(body: bytes, lengths: list[int]) -> list[str]:
    ends = list(accumulate(lengths, initial=0))
    return [body[a:b].decode(errors="replace") for a, b in pairwise(ends)]
