"""Tables on pages, which nobody writes by hand: each stands between its two marks."""

from __future__ import annotations

from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """The lines between which a table stands."""
    return f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"


def write(path: Path, name: str, table: str) -> None:
    """Put a table between its marks; raises ValueError where they are missing."""
    begin, end = marks(name)
    text = path.read_text(encoding="utf-8")
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise ValueError(f"{path} has no {begin.strip()} before {end.strip()}")
    path.write_text(before + begin + table + end + after, encoding="utf-8")
