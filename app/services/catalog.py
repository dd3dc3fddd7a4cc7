"""What people are shown of the datasets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import db
from app.models import Dataset, DatasetBadRow, DatasetColumn


def newest(most: int, before: int | None = None) -> list[dict[str, Any]]:
    """The newest datasets, of those with a smaller id than `before` if that is given."""
    wanted = select(Dataset).order_by(Dataset.id.desc()).limit(most)
    if before is not None:
        wanted = wanted.where(Dataset.id < before)
    with db.session() as session:
        return [_summary(row) for row in session.scalars(wanted)]


def details(data_id: int) -> dict[str, Any] | None:
    """A dataset with its first bad rows and what processing found; None if there is none."""
    with db.session() as session:
        row = session.get(Dataset, data_id)
        if row is None:
            return None
        return {
            **_summary(row),
            "errors": _errors(session, data_id),
            "statistics": _statistics(session, data_id),
        }


def _summary(row: Dataset) -> dict[str, Any]:
    return {
        "data_id": row.id,
        "name": row.name,
        "status": row.status,
        "columns": row.columns,
        "rows": row.total_rows - row.bad_rows,
        "bad_rows": row.bad_rows,
        "created_at": _utc(row.created_at).isoformat(),
        "updated_at": _utc(row.updated_at).isoformat(),
    }


def _errors(session: Session, data_id: int) -> list[dict[str, Any]]:
    wanted = select(DatasetBadRow).where(DatasetBadRow.dataset_id == data_id)
    found = session.scalars(wanted.order_by(DatasetBadRow.line))
    return [{"line": each.line, "reason": each.reason} for each in found]


def _statistics(session: Session, data_id: int) -> list[dict[str, Any]]:
    wanted = select(DatasetColumn).where(DatasetColumn.dataset_id == data_id)
    found = session.scalars(wanted.order_by(DatasetColumn.position))
    return [_column(each) for each in found]


def _column(column: DatasetColumn) -> dict[str, Any]:
    names = ("name", "kind", "rows", "missing", "different", "outliers", "statistics")
    return {name: getattr(column, name) for name in names}


def _utc(moment: datetime) -> datetime:
    # SQLite forgets the time zone; the tables are in UTC.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
