"""The sources that there are, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app import db
from app.models.sources import Source as SourceRow
from app.services.failures import JobFailedError


@dataclass(frozen=True)
class Source:
    """A row of the table `sources`."""

    id: int
    name: str
    kind: str
    location: str
    options: dict[str, Any]
    enabled: bool


def every() -> list[Source]:
    """All sources, by id."""
    with db.session() as session:
        return [_source(row) for row in session.scalars(select(SourceRow).order_by(SourceRow.id))]


def enabled() -> list[Source]:
    """The sources that may run, by id."""
    return [source for source in every() if source.enabled]


def find(source_id: int) -> Source:
    """The source with this id, if it may run; raises JobFailedError."""
    for source in enabled():
        if source.id == source_id:
            return source
    raise JobFailedError(f"No source that is enabled has the id {source_id}.")


def _source(row: SourceRow) -> Source:
    return Source(row.id, row.name, row.kind, row.location, row.options, row.enabled)
