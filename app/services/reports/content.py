"""What a report says, before anything is drawn: tables of texts, and charts of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

MOST_DAYS = 31  # a period with more days is charted by weeks
MOST_WEEKS = 26  # and one with more weeks by months

Number = int | Decimal


@dataclass(frozen=True)
class Column:
    """`share` is how much of the width it takes, beside the others' shares."""

    name: str
    share: float = 1
    right: bool = False


@dataclass(frozen=True)
class Table:
    """`total` counts all rows, also those left out; the rows in `bold` are sums of others."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    total: int
    bold: frozenset[int] = frozenset()

    @property
    def left_out(self) -> int:
        return self.total - len(self.rows)


@dataclass(frozen=True)
class Chart:
    """Bars over `labels`, one upon the other; a series has a value for each label."""

    title: str
    across: str
    up: str
    labels: Sequence[str]
    series: dict[str, list[Number]]


@dataclass(frozen=True)
class Section:
    """`chart` is none where nothing happened."""

    title: str
    totals: Table
    chart: Chart | None
    listing: Table


@dataclass(frozen=True)
class Document:
    """`facts` are pairs of a name and a value."""

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]


@dataclass(frozen=True)
class Counted:
    """A sum of what happened in an hour, as in '2026-11-23 07', under a series' name."""

    moment: str
    name: str
    value: Number


def charted(what: str, first: date, last: date, counted: Iterable[Counted]) -> Chart | None:
    """A chart of these sums, in steps that fit the period; none if all are zero."""
    step = step_of(first, last)
    labels = list(dict.fromkeys(labels_of(first, last, step)))
    series: dict[str, list[Number]] = {}
    for each in counted:
        if each.value:
            values = series.setdefault(each.name, [0] * len(labels))
            values[labels.index(label(each.moment, first, step))] += each.value
    return Chart(f"{what} by {step}", ACROSS[step], what, labels, series) if series else None


ACROSS = {
    "hour": "Hour of the day",
    "day": "Day",
    "week": "First day of the week",
    "month": "Month",
}


def step_of(first: date, last: date) -> str:
    """What a bar stands for."""
    days = (last - first).days + 1
    if days == 1:
        return "hour"
    if days <= MOST_DAYS:
        return "day"
    return "week" if days <= 7 * MOST_WEEKS else "month"


def labels_of(first: date, last: date, step: str) -> Iterator[str]:
    if step == "hour":
        yield from (f"{hour:02}" for hour in range(24))
        return
    for number in range((last - first).days + 1):
        yield label((first + timedelta(days=number)).isoformat(), first, step)


def label(moment: str, first: date, step: str) -> str:
    """The bar that a moment belongs to; weeks begin with the period."""
    if step == "hour":
        return moment[11:13]
    if step == "month":
        return moment[:7]
    day = date.fromisoformat(moment[:10])
    if step == "week":
        day -= timedelta(days=(day - first).days % 7)
    return f"{day:%m-%d}"


def number(value: Number) -> str:
    """With commas between the thousands."""
    return f"{value:,}"
