"""What each kit makes of each way to end, in Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import pages
from bench.overhead.kits import BY_NAME

NAME = "bench.outcomes"


def write(path: Path, result: dict[str, Any]) -> None:
    """Put the table between its marks; raises ValueError where they are missing."""
    pages.write(path, NAME, markdown(result))


def markdown(result: dict[str, Any]) -> str:
    """A row a scenario, a column a kit."""
    told = result["told"]
    titles = list(next(iter(told.values())))
    head = ["| | " + " | ".join(BY_NAME[kit].title for kit in told) + " |"]
    rows = [
        f"| {title} | " + " | ".join(column[title] for column in told.values()) + " |"
        for title in titles
    ]
    where = result["surroundings"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    foot = f"{where['when'][:10]}, Python {where['python']}: {versions}."
    return "\n".join([*head, "|---|" + "---|" * len(told), *rows, "", foot, ""])
