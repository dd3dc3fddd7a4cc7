"""The README's table of what kits cost, which nobody writes by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import pages
from bench.overhead.figures import OPERATIONS
from bench.overhead.kits import ALL
from bench.overhead.table import TITLES

NAME = "bench.overhead"


def write(path: Path, result: dict[str, Any]) -> None:
    """Put the table between its marks; raises ValueError where they are missing."""
    pages.write(path, NAME, table(result))


def table(result: dict[str, Any]) -> str:
    """What each kit adds to each operation, in Markdown."""
    cells = {(row["kit"], row["operation"]): _cell(row) for row in result["rows"]}
    names = [kit for kit in ALL if any(kit.name == found for found, _ in cells)]
    lines = [
        "| | " + " | ".join(TITLES[operation].lower() for operation in OPERATIONS) + " |",
        "|---|" + "---|" * len(OPERATIONS),
    ]
    for kit in names:
        row = " | ".join(cells.get((kit.name, operation), "") for operation in OPERATIONS)
        lines.append(f"| {kit.title} | {row} |")
    where = result["surroundings"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    return "\n".join([*lines, "", f"{where['when'][:10]}, Python {where['python']}: {versions}.\n"])


def _cell(row: dict[str, Any]) -> str:
    if row["added"] is None:
        return f"{row['total']['median']:.0f} us"
    added = "+{median:.0f} ({low:.0f} to {high:.0f})".format(**row["added"])
    if row["kit"] == "contrib" or row["ratio"] is None:
        return added
    return f"{added}, {row['ratio']['median']:.2f} of contrib"
