"""What the end of a request or of a task adds to, all in one go.

To look numbers up and to go through them costs more than to add to them, so their places in the
files are kept together, and are right as long as the store has the same files open.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from .store import NEVER, current, here

if TYPE_CHECKING:
    from .store import Number
    from .values import Numbers


class Requests:
    """The series of requests that are alike: a sum of seconds, and buckets of them."""

    __slots__ = (
        "_bounds",
        "_buckets",
        "_file",
        "_lock",
        "_opened",
        "_places",
        "_sum",
        "_sum_place",
    )

    def __init__(self, numbers: Numbers) -> None:
        self._sum, self._bounds, self._buckets = numbers
        self._opened = NEVER
        self._lock: Any = None
        self._file: Any = None
        self._sum_place, self._places = 0, tuple[int, ...]()

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        if here[0] == self._opened:
            try:
                with self._lock:
                    numbers = self._file.numbers
                    numbers[self._sum_place] += seconds
                    numbers[self._places[bisect_left(self._bounds, seconds)]] += 1.0
                    return
            except ValueError:
                # Another thread has closed the file since.
                pass
        self._look(seconds)

    def _look(self, seconds: float, *others: Number) -> None:
        """Add to each number by itself, and keep where they all are."""
        every, bucket = self._buckets, self._buckets[bisect_left(self._bounds, seconds)]
        ended = [(self._sum, seconds), *((each, 1.0) for each in (bucket, *others))]
        opened = current.add((*ended, *((each, 0.0) for each in every)))
        if opened:
            with self._sum.lock:
                # Nobody has looked them up anew since.
                if here[0] == opened:
                    self._keep()
                    self._opened = opened

    def _keep(self) -> None:
        self._lock, self._file, self._sum_place = self._sum.lock, self._sum.file, self._sum.index
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
        if here[0] == self._opened:
            try:
                with self._lock:
                    self._count_file.numbers[self._count_place] += 1.0
                    numbers = self._file.numbers
                    numbers[self._sum_place] += seconds
                    numbers[self._places[bisect_left(self._bounds, seconds)]] += 1.0
                    return
            except ValueError:
                pass
        self._look(seconds, self._count)

    def _keep(self) -> None:
        self._count_file, self._count_place = self._count.file, self._count.index
        super()._keep()
