"""What a worker's main process has taken from the broker and not settled, in a file of its own.

The file outlives a killed worker: the agent, which finds that its lock is free, gives the messages
back. It names the broker, with its password, so only its owner may read it.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import secrets
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..disk import fallocate

MAGIC = b"FTHELD01"
HEAD = 16384
SIZE = 384  # bytes for an entry
FIRST = 256  # entries to begin with; doubled as needed
MOST = 65536
# Seconds after which a dead worker's table says nothing new: the visibility timeout has passed.
LONGEST = 7 * 86400.0
SUFFIX = ".held"
# The magic, the owner's pid, and the length of what is said of the broker.
_START = struct.Struct("<8sII")
# Whether it is one, whether it is critical, the process that runs it, when it was taken, and the
# lengths of five texts.
_ENTRY = struct.Struct("<B?xxId5H")
_pack = _ENTRY.pack
_PID = struct.Struct("<I")
_note_pid = _PID.pack_into
_PID_AT = 4
_ROOM = SIZE - _ENTRY.size


@dataclass(frozen=True)
class Entry:
    """A message: `taken` in seconds since 1970, `pid` of the process that runs it or 0."""

    tag: str
    queue: str
    task_id: str
    task: str
    traceparent: str
    taken: float
    critical: bool = False
    pid: int = 0


# An entry's tag, queue, task id, task and traceparent.
Texts = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Found:
    """What a dead worker has left; `broker` says how it was connected."""

    pid: int
    broker: dict[str, Any]
    entries: list[Entry]


def folder(state_dir: Path) -> Path:
    """Where the tables of all workers are."""
    return state_dir / "held"


class Table:
    """The messages that this process holds; raises OSError where there is no room on the disk.

    Its lock belongs to the process: nothing else here may open and close the file.
    """

    def __init__(self, state_dir: Path, broker: Mapping[str, Any]) -> None:
        place = folder(state_dir)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.pid = os.getpid()
        self.path = place / f"{self.pid}-{secrets.token_hex(4)}{SUFFIX}"
        new = self.path.with_suffix(".new")
        self._fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._begin(broker)
            # Locked and whole before anybody looks into it.
            new.replace(self.path)
        except BaseException:
            new.unlink(missing_ok=True)
            os.close(self._fd)
            raise

    def _begin(self, broker: Mapping[str, Any]) -> None:
        # Where each message's entry begins, by its tag, and where there is room for one.
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._capacity = 0
        self._grow(FIRST)
        said = json.dumps(broker).encode()
        if len(said) > HEAD - _START.size:
            raise ValueError(f"what is said of the broker has more than {HEAD - _START.size} bytes")
        self._map[_START.size : _START.size + len(said)] = said
        _START.pack_into(self._map, 0, MAGIC, self.pid, len(said))

    def __len__(self) -> int:
        return len(self._places)

    def _grow(self, capacity: int) -> None:
        fallocate(self._fd, HEAD + capacity * SIZE)
        self._map = mmap.mmap(self._fd, HEAD + capacity * SIZE)
        numbers = range(capacity - 1, self._capacity - 1, -1)
        self._free += [HEAD + number * SIZE for number in numbers]
        self._capacity = capacity

    def add(self, texts: Texts, taken: float, critical: bool = False) -> bool:
        """Note a message; False if it doesn't fit. Raises OSError where the file can't grow."""
        joined = "".join(texts)
        if joined.isascii() and len(joined) <= _ROOM:
            # As nearly all are: a byte for each character.
            body, lengths = joined.encode(), map(len, texts)
        else:
            parts = _fitting(*texts)
            if parts is None:
                return False
            body, lengths = b"".join(parts), map(len, parts)
        if not self._free and not self._has_room():
            return False
        tag, places = texts[0], self._places
        if tag in places:
            at = places[tag]
            self._map[at] = 0
        else:
            at = places[tag] = self._free.pop()
        record = _pack(0, critical, 0, taken, *lengths) + body
        # The last step makes it one, so that a kill leaves none that is half written.
        room = self._map
        room[at : at + len(record)] = record
        room[at] = 1
        return True

    def _has_room(self) -> bool:
        if not self._free and self._capacity < MOST:
            self._grow(self._capacity * 2)
        return bool(self._free)

    def runs(self, tag: str, pid: int) -> None:
        """Note that a process has begun to run a message."""
        at = self._places.get(tag)
        if at is not None:
            _note_pid(self._map, at + _PID_AT, pid)

    def remove(self, tag: str) -> None:
        """Forget a message that was settled."""
        at = self._places.pop(tag, None)
        if at is not None:
            self._map[at] = 0
            self._free.append(at)

    def forget_waiting(self) -> None:
        """Forget what no process has begun: its connection is gone, and others may have it."""
        for tag, at in tuple(self._places.items()):
            if _PID.unpack_from(self._map, at + _PID_AT) == (0,):
                self.remove(tag)

    def close(self) -> None:
        """Remove the file: its messages were given back, or are somebody else's to give back."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)


def _fitting(tag: str, queue: str, task_id: str, task: str, traceparent: str) -> list[bytes] | None:
    """What is kept of an entry; None where not even what it takes to give it back fits."""
    needed = [_bytes(text) for text in (tag, queue, task_id)]
    room = _ROOM - sum(map(len, needed))
    if room < 0:
        return None
    parent = _bytes(traceparent)
    parent = parent if len(parent) <= room else b""
    return [*needed, _bytes(task)[: room - len(parent)], parent]


def _bytes(text: str) -> bytes:
    # JSON may name half of a surrogate pair.
    return text.encode(errors="replace")


def prune(state_dir: Path) -> None:
    """Remove the tables of workers long dead, where no agent has looked at them."""
    oldest = time.time() - LONGEST
    for path in folder(state_dir).iterdir():
        if path.stat().st_mtime < oldest and (fd := take(path)) is not None:
            path.unlink(missing_ok=True)
            os.close(fd)


def take(path: Path) -> int | None:
    """The descriptor of a dead worker's table, locked; None if its owner lives, or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(fd)
        return None
    return fd


def read(fd: int) -> Found | None:
    """What a table says; None if it is none."""
    raw = os.pread(fd, os.fstat(fd).st_size, 0)
    if len(raw) < HEAD or not raw.startswith(MAGIC):
        return None
    _, pid, length = _START.unpack_from(raw)
    try:
        broker = json.loads(raw[_START.size : _START.size + length])
    except ValueError:
        return None
    places = range(HEAD, len(raw) - SIZE + 1, SIZE)
    return Found(pid, broker, [_entry(raw, at) for at in places if raw[at] == 1])


def _entry(raw: bytes, at: int) -> Entry:
    _, critical, pid, taken, *lengths = _ENTRY.unpack_from(raw, at)
    at += _ENTRY.size
    texts = []
    for length in lengths:
        texts.append(raw[at : at + length].decode(errors="replace"))
        at += length
    tag, queue, task_id, task, parent = texts
    return Entry(tag, queue, task_id, task, parent, taken, critical, pid)
