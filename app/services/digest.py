"""What the weekly digest says: the totals of a week, from the rows that reports are made of."""

from __future__ import annotations

from collections.abc import Iterator

from app import db
from app.services import reports
from app.services.reports import rows
from app.services.reports.content import Table
from app.services.reports.reader import Reader

NOTHING = "  none"


def text(first: str, last: str) -> str:
    """The digest of these days, both included, as in 2026-11-16."""
    head = f"What the service did from {first} to {last}:"
    parts = [_part(kind, {"from": first, "to": last}) for kind in rows.SECTIONS]
    return "\n\n".join([head, *parts]) + "\n"


def _part(kind: str, days: dict[str, str]) -> str:
    scope = reports.scope(kind, days)
    with db.session() as session:
        # Totals alone, no row is listed.
        section = rows.SECTIONS[kind](Reader(session, scope, 0))
    return "\n".join([section.title, *(_lines(section.totals) or [NOTHING])])


def _lines(table: Table) -> list[str]:
    if not table.rows:
        return []
    names = tuple(column.name for column in table.columns)
    return list(
        _aligned([names, *map(tuple, table.rows)], [column.right for column in table.columns])
    )


def _aligned(cells: list[tuple[str, ...]], right: list[bool]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        placed = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        yield f"  {'  '.join(placed).rstrip()}"
