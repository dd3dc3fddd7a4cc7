"""What the columns of a dataset hold: types, missing values, statistics and outliers.

Everything here adds one cell at a time, so that a dataset of any size takes the same memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
NUMERIC = ("integer", "number")
YES_AND_NO = frozenset({"true", "false", "yes", "no"})
MOST_VALUES = 1000  # different values counted in a column; with more, they are said to be many
SAMPLE = 2000  # numbers of a column that its quartiles are estimated from
FENCE = 1.5  # Tukey's: an outlier is so many interquartile ranges outside the quartiles
LONGEST_NUMBER = 40  # characters; what is longer is no quantity


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def number(cell: str) -> float | None:
    """The cell as a finite number; None if it is none."""
    text = cell.strip()
    # float() also reads what people don't write, as in 1_000.
    if "_" in text or len(text) > LONGEST_NUMBER:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def kind(cell: str) -> str:
    """The type that a cell looks like: boolean, integer, number, date or text."""
    text = cell.strip()
    if text.lower() in YES_AND_NO:
        return "boolean"
    if text.lstrip("+-").isdecimal() and number(text) is not None:
        return "integer"
    if number(text) is not None:
        return "number"
    return "date" if _is_date(text) else "text"


def _is_date(text: str) -> bool:
    # Without separators it would be a number.
    if not text[:4].isdecimal() or "-" not in text:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def common_kind(counts: dict[str, int]) -> str:
    """The one type that all cells of a column fit; text fits everything."""
    kinds = set(counts)
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds and kinds <= {"integer", "number"}:
        return "number"
    return "text" if kinds else "empty"


@dataclass
class Numbers:
    """The statistics of numbers that are added one by one.

    Mean and variance are Welford's, which don't lose digits; the quartiles come from a random
    sample of fixed size (reservoir sampling), exact while there are no more numbers than that.
    """

    count: int = 0
    mean: float = 0.0
    least: float = math.inf
    greatest: float = -math.inf
    _squares: float = 0.0
    _sample: list[float] = field(default_factory=list)
    # The same dataset gives the same figures each time.
    _random: Random = field(default_factory=lambda: Random(0))  # noqa: S311  not for secrets

    def add(self, value: float) -> None:
        self.count += 1
        away = value - self.mean
        self.mean += away / self.count
        self._squares += away * (value - self.mean)
        self.least = min(self.least, value)
        self.greatest = max(self.greatest, value)
        self._keep(value)

    def _keep(self, value: float) -> None:
        if len(self._sample) < SAMPLE:
            self._sample.append(value)
        elif (place := int(self._random.random() * self.count)) < SAMPLE:
            self._sample[place] = value

    @property
    def deviation(self) -> float:
        """The sample standard deviation; 0 for fewer than two numbers."""
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else 0.0

    def quantile(self, share: float) -> float:
        """By linear interpolation, as in most programs."""
        ordered = sorted(self._sample)
        at = (len(ordered) - 1) * share
        low = math.floor(at)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (at - low)

    def fences(self) -> tuple[float, float]:
        """Values outside of these two are outliers."""
        first, third = self.quantile(0.25), self.quantile(0.75)
        reach = FENCE * (third - first)
        return first - reach, third + reach


@dataclass
class Column:
    """What the first pass learns about a column; the second one counts its outliers."""

    name: str
    count: int = 0
    missing: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)  # the shortest and the longest text
    numbers: Numbers = field(default_factory=Numbers)
    outliers: int = 0
    # Of each different cell its hash, so that long ones take no more memory.
    _seen: set[int] = field(default_factory=set)

    def add(self, cell: str) -> None:
        self.count += 1
        if is_missing(cell):
            self.missing += 1
            return
        found = kind(cell)
        self.kinds[found] = self.kinds.get(found, 0) + 1
        length = len(cell)
        low, high = self.lengths or (length, length)
        self.lengths = [min(low, length), max(high, length)]
        if len(self._seen) <= MOST_VALUES:
            self._seen.add(hash(cell))
        if found in NUMERIC and (value := number(cell)) is not None:
            self.numbers.add(value)

    @property
    def different(self) -> int | None:
        """How many different values there are; None if more than MOST_VALUES."""
        return len(self._seen) if len(self._seen) <= MOST_VALUES else None

    @property
    def kind(self) -> str:
        return common_kind(self.kinds)

    @property
    def is_numeric(self) -> bool:
        return self.kind in NUMERIC


def count_outliers(columns: list[Column], rows: Iterable[dict[str, str]]) -> None:
    """The second pass: add to each numeric column the number of values outside its fences."""
    numeric = [(column, *column.numbers.fences()) for column in columns if column.is_numeric]
    for row in rows:
        for column, low, high in numeric:
            cell = row[column.name]
            if not is_missing(cell) and (value := number(cell)) is not None:
                column.outliers += not low <= value <= high


def summary(column: Column) -> dict[str, float | int | bool]:
    """The statistics that fit the column's type; numbers beyond range are left out."""
    if column.is_numeric:
        return _finite(column.numbers)
    if column.kind == "text":
        return {"shortest": column.lengths[0], "longest": column.lengths[1]}
    return {}


def _finite(numbers: Numbers) -> dict[str, float | int | bool]:
    low, high = numbers.fences()
    figures = {
        "min": numbers.least,
        "max": numbers.greatest,
        "mean": numbers.mean,
        "stddev": numbers.deviation,
        "q1": numbers.quantile(0.25),
        "median": numbers.quantile(0.5),
        "q3": numbers.quantile(0.75),
        "lower_fence": low,
        "upper_fence": high,
    }
    # JSON has no infinity, which the squares of very large numbers come to.
    kept: dict[str, float | int | bool] = {k: v for k, v in figures.items() if math.isfinite(v)}
    return {**kept, "quartiles_estimated": numbers.count > SAMPLE}
