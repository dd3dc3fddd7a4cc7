"""What the end of a request or of a task adds to, all in one go.

To look numbers up and to go through them costs more than to add to them, so their places in the
files are kept together, and are right as long as the store has the same files open.
"""

from __future__ import annotations

from bisect import bisect_left
from os import getpid
from typing import TYPE_CHECKING, Any

from .store import NONE, current

if TYPE_CHECKING:
    from .store import Number
    from .values import Numbers


class Requests:
    """The series of requests that are alike: a sum of seconds, and buckets of them."""

    __slots__ = ("_bounds", "_buckets", "_file", "_opened", "_places", "_total", "_total_place")

    def __init__(self, numbers: Numbers) -> None:
        self._total, self._bounds, self._buckets = numbers
        self._opened = NONE
        self._file: Any = None
        self._total_place, self._places = 0, tuple[int, ...]()

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        opened = self._opened
        if opened.pid == getpid():
            with opened.lock:
                if opened is current.opened:
                    numbers = self._file.numbers
                    numbers[self._total_place] += seconds
                    numbers[self._places[bisect_left(self._bounds, seconds)]] += 1.0
                    return
        self._look(seconds)

    def _look(self, seconds: float, *others: Number) -> None:
        """Add to each number by itself, and keep where they all are."""
        every, bucket = self._buckets, self._buckets[bisect_left(self._bounds, seconds)]
        ended = [(self._total, seconds), *((each, 1.0) for each in (bucket, *others))]
        opened = current.add((*ended, *((each, 0.0) for each in every)))
        if opened is None:
            return
        with opened.lock:
            if opened is current.opened:
                self._keep()
                self._opened = opened

    def _keep(self) -> None:
        self._file, self._total_place = self._total.file, self._total.index
        self._places = tuple(each.index for each in self._buckets)


class Tasks(Requests):
    """The series of tasks that are alike, and how many of them there were."""

    __slots__ = ("_count", "_count_file", "_count_place")

    def __init__(self, numbers: Numbers, count: Number) -> None:
        super().__init__(numbers)
        self._count = count
        self._count_file: Any = None
        self._count_place = 0

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        # As above in full: a call costs as much as one of the numbers.
        opened = self._opened
        if opened.pid == getpid():
            with opened.lock:
                if opened is current.opened:
                    self._count_file.numbers[self._count_place] += 1.0
                    numbers = self._file.numbers
                    numbers[self._total_place] += seconds
                    numbers[self._places[bisect_left(self._bounds, seconds)]] += 1.0
                    return
        self._look(seconds, self._count)

    def _keep(self) -> None:
        super()._keep()
        self._count_file, self._count_place = self._count.file, self._count.index
