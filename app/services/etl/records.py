"""The rows that were saved: one a key, the newest run's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from app import db, patience
from app.models.sources import SourceRecord
from app.services.etl.runs import Run

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def save(run: Run, rows: list[tuple[str, dict[str, Any]]]) -> int:
    """Write rows by their key in one transaction; gives their number.

    What a run that began later has written stays.
    """
    shared = {"source_id": run.source_id, "run_id": run.id, "updated_at": run.started_at}
    # In one order, so that two runs which write the same rows can't wait for each other.
    values = [{"key": key, "data": data, **shared} for key, data in sorted(rows, key=_key)]
    with patience.endless(), db.session() as session:
        dialect = session.get_bind().dialect.name
        session.connection().execute(_upsert(dialect), values)
    return len(values)


def _key(row: tuple[str, dict[str, Any]]) -> str:
    return row[0]


def _upsert(dialect: str) -> Any:
    table = SourceRecord.__table__
    assert isinstance(table, Table)  # noqa: S101  for the type checker
    statement = _INSERT[dialect](table)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[table.c.source_id, table.c.key],
        set_={"data": new.data, "run_id": new.run_id, "updated_at": new.updated_at},
        where=table.c.updated_at <= new.updated_at,
    )


def page(source_id: int, after: str, limit: int) -> list[tuple[str, Any, str, datetime]]:
    """Records by their key, from the one after `after` on: key, data, run and time."""
    columns = (SourceRecord.key, SourceRecord.data, SourceRecord.run_id, SourceRecord.updated_at)
    here = (SourceRecord.source_id == source_id, SourceRecord.key > after)
    with db.session() as session:
        found = session.execute(
            select(*columns).where(*here).order_by(SourceRecord.key).limit(limit)
        )
        return [(key, data, run_id, updated_at) for key, data, run_id, updated_at in found]


def counts() -> dict[int, int]:
    """How many records each source has that has any."""
    wanted = select(SourceRecord.source_id, func.count()).group_by(SourceRecord.source_id)
    with db.session() as session:
        return {source_id: count for source_id, count in session.execute(wanted)}  # noqa: C416  rows aren't tuples to mypy
