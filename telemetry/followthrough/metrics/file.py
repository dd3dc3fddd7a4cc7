"""One file of numbers, in prometheus_client's format, safe on a full disk."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from ..disk import fallocate

SIZE = 1 << 16
# A fresh file: how many bytes are used, the header only.
HEADER = struct.pack("ii", 8, 0)
USED = struct.Struct("i")
DOUBLE = 8
# What reading a damaged file can raise; OSError, where it can't be read at all, is another matter.
BROKEN = (RuntimeError, ValueError, TypeError, struct.error, IndexError)


def read(path: Path) -> list[tuple[str, float]]:
    """All keys and values of a file; raises one of BROKEN where it is damaged, or OSError."""
    with path.open("rb") as opened:
        (used,) = USED.unpack(opened.read(USED.size))
    if used < USED.size:
        raise ValueError(f"{path.name} says that {used} bytes are used")
    values = MmapedDict.read_all_values_from_file(str(path))
    return [(key, float(value)) for key, value, _, _ in values]


class File(MmapedDict):
    """prometheus_client's mapped dictionary, whose space is reserved before it is mapped.

    A write to a mapped page that the disk has no room for would be a SIGBUS, not an error.
    """

    @classmethod
    def at(cls, path: Path) -> File:
        """Open or make the file; one that can't be read is set aside and begun anew."""
        if not path.exists():
            _make(path)
        try:
            read(path)
        except BROKEN:
            path.replace(path.with_suffix(".broken"))
            _make(path)
        return cls(str(path))

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._map()

    def index(self, key: str) -> int:
        """Where a number is in `numbers`, made at zero if it is new; OSError on a full disk."""
        if key not in self._positions:
            self._init_value(key)
        return int(self._positions[key]) // DOUBLE

    def done(self) -> None:
        """Unmap and close the file."""
        self.numbers.release()
        self.close()

    def _map(self) -> None:
        """See the file as doubles, as all values are at a multiple of eight.

        To set one is one step, unlike `pack_into`: a scrape may read meanwhile.
        """
        self.numbers = memoryview(self._m)[: self._capacity // DOUBLE * DOUBLE].cast("d")

    def _init_value(self, key: str) -> None:
        self._reserve(self._used + len(key.encode()) + 32)
        super()._init_value(key)

    def _reserve(self, needed: int) -> None:
        capacity = self._capacity
        while capacity < needed:
            capacity *= 2
        if capacity > self._capacity:
            fallocate(self._f.fileno(), capacity)
            self._m = mmap.mmap(self._f.fileno(), capacity)
            self._capacity = capacity
            self._map()


def _make(path: Path) -> None:
    # Renamed into place when whole: a scrape never sees an empty file.
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        fallocate(fd, SIZE)
        os.pwrite(fd, HEADER, 0)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    finally:
        os.close(fd)
    fresh.replace(path)
