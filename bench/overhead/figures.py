"""What the turns say: medians with their spread, what a kit adds, and how two kits compare."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

OPERATIONS = ("json", "publish", "task")
BARE = "bare"
REFERENCE = "contrib"


@dataclass(frozen=True)
class Turn:
    """One kit's load in one round; `problem` says why it doesn't count, if it doesn't."""

    kit: str
    operation: str
    round: int
    microseconds: float
    spans: dict[str, int]
    problem: str = ""


@dataclass(frozen=True)
class Spread:
    """A median between the quarters of its values."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Row:
    """A kit's cost of one operation: CPU time, what it adds to bare, and that beside contrib's."""

    kit: str
    operation: str
    total: Spread
    added: Spread | None
    ratio: Spread | None


def spread(values: Iterable[float]) -> Spread | None:
    """None where there is no value."""
    numbers = sorted(values)
    if not numbers:
        return None
    if len(numbers) == 1:
        return Spread(numbers[0], numbers[0], numbers[0], 1)
    low, middle, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return Spread(middle, low, high, len(numbers))


def rows(turns: Iterable[Turn], kits: Iterable[str]) -> list[Row]:
    """A row for each operation and kit that has turns that count."""
    valid = {(t.operation, t.kit, t.round): t.microseconds for t in turns if not t.problem}
    found = (_row(valid, operation, kit) for operation in OPERATIONS for kit in kits)
    return [row for row in found if row is not None]


def _row(valid: dict[tuple[str, str, int], float], operation: str, kit: str) -> Row | None:
    total = spread(_of(valid, operation, kit).values())
    if total is None:
        return None
    added = _added(valid, operation, kit)
    reference = _added(valid, operation, REFERENCE)
    # By round: what slows the machine down meets both.
    ratios = [added[n] / reference[n] for n in added if reference.get(n, 0.0) > 0.0]
    if kit == BARE:
        return Row(kit, operation, total, None, None)
    return Row(kit, operation, total, spread(added.values()), spread(ratios))


def _added(valid: dict[tuple[str, str, int], float], operation: str, kit: str) -> dict[int, float]:
    bare = _of(valid, operation, BARE)
    return {n: us - bare[n] for n, us in _of(valid, operation, kit).items() if n in bare}


def _of(valid: dict[tuple[str, str, int], float], operation: str, kit: str) -> dict[int, float]:
    return {n: us for (o, k, n), us in valid.items() if (o, k) == (operation, kit)}


def problem(spans: dict[str, int], count: int, least: int) -> str:
    """Why a turn of `count` operations doesn't count, going by the spans that its sink got.

    Each kind of span comes so many times an operation, and at least `least` kinds do; few others,
    such as those of opening a connection, may come beside them. Empty if all is well.
    """
    partial = {name: n for name, n in spans.items() if n % count and n > count // 20}
    if partial:
        return f"{count} operations, but {partial}"
    whole = [name for name, n in spans.items() if n and n % count == 0]
    if len(whole) < least:
        return f"{count} operations, and only {whole or 'nothing'} came"
    return ""
