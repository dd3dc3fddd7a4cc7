"""The figures as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.overhead.figures import OPERATIONS, Row, Spread, Turn
from bench.overhead.kits import BY_NAME

TITLES = {
    "json": "A POST that returns JSON",
    "publish": "A POST that publishes one task",
    "task": "A no-op task in a prefork worker",
}


def head(surroundings: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in surroundings["versions"].items())
    when, load = surroundings["when"], surroundings["load_before"]
    machine = f"Python {surroundings['python']}, {surroundings['cpus']} CPUs, load before {load}"
    return "\n".join(
        [
            f"{when}, commit {surroundings['commit']}, {machine}",
            versions,
            "Microseconds of CPU time an operation, all processes of the program, the agent too.",
            "Others may use the machine: only the ratios mean anything. Medians [quarters].",
        ]
    )


def overhead(rows: list[Row], turns: list[Turn]) -> str:
    """The table of all operations and kits, with the turns that don't count below."""
    lines = []
    for operation in OPERATIONS:
        lines += ["", f"{TITLES[operation]:<34}{'total':>20}{'over bare':>24}{'of contrib':>22}"]
        lines += [_row(row) for row in rows if row.operation == operation]
    return "\n".join([*lines, "", *_counted(turns)])


def _row(row: Row) -> str:
    title = BY_NAME[row.kit].title
    cells = f"{_us(row.total):>20}{_us(row.added):>24}{_times(row.ratio):>22}"
    return f"  {title:<32}{cells}"


def _us(spread: Spread | None) -> str:
    return f"{spread.median:.0f} [{spread.low:.0f} {spread.high:.0f}]" if spread else ""


def _times(spread: Spread | None) -> str:
    return f"{spread.median:.2f} [{spread.low:.2f} {spread.high:.2f}]" if spread else ""


def _counted(turns: Iterable[Turn]) -> list[str]:
    turns = list(turns)
    bad = [turn for turn in turns if turn.problem]
    lines = [f"{len(turns) - len(bad)} of {len(turns)} turns count: their sink got every span."]
    return lines + [f"  left out: {t.kit} {t.operation} {t.round}: {t.problem}" for t in bad]


def budget(parts: dict[str, dict[str, float]]) -> str:
    """What each part of the kit costs alone."""
    lines = ["", "Parts of the kit, each alone in a loop (us of CPU time)"]
    for name, each in parts.items():
        lines.append(f"  {name:<58}{each['median']:>8.1f} [{each['low']:.1f} {each['high']:.1f}]")
    return "\n".join(lines)


def outage(conditions: dict[str, dict[str, Any]]) -> str:
    """Latencies by what the collector does, and what became of the spans."""
    lines = ["", "Latency one at a time (ms), by what the collector does", _OUTAGE_HEAD]
    for name, each in conditions.items():
        cells = "".join(f"{each[column]:>11.2f}" for column in _COLUMNS)
        lines.append(f"  {name:<30}{cells}   {each['account']}")
    return "\n".join(lines)


_COLUMNS = ("json_p50", "json_p99", "task_p50", "task_p99")
_OUTAGE_HEAD = f"  {'':<30}" + "".join(f"{each.replace('_', ' '):>11}" for each in _COLUMNS)
