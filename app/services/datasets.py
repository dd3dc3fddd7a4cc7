"""Keeps imported rows: a chunk and the place it reaches are written in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CursorResult, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from app import db
from app.models.imports import (
    COMPLETED,
    IMPORTING,
    Dataset,
    DatasetBadRow,
    DatasetColumn,
    DatasetRow,
)
from app.services.csvfile import Layout, Place

MOST_BAD_ROWS = 100  # kept with their reason; more are only counted
ROWS_AT_A_TIME = 1000

START = Place(0, 0)

# By the driver itself, which is a third faster than through SQLAlchemy's statements.
_UPSERT = """
INSERT INTO dataset_rows (dataset_id, line, data) VALUES ({values})
ON CONFLICT (dataset_id, line) DO UPDATE SET data = excluded.data
"""
_BY_STYLE = {
    "qmark": _UPSERT.format(values="?, ?, ?"),
    "pyformat": _UPSERT.format(values="%s, %s, CAST(%s AS JSON)"),
}


@dataclass(frozen=True)
class Source:
    """The file of a dataset."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Progress:
    """How far a dataset has come."""

    data_id: int
    layout: Layout
    place: Place
    total_rows: int
    bad_rows: int
    completed: bool


@dataclass
class Chunk:
    """Rows as JSON and bad rows with their reason, each with its line; `end` is the place after."""

    rows: list[tuple[int, str]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    end: Place = START
    last: bool = False


def begun(source: Source, layout: Layout) -> Progress:
    """The dataset of this content, which is a new one only the first time."""
    found = of_content(source.sha256)
    if found is None:
        # Another import of the same content may be faster.
        with suppress(IntegrityError):
            _create(source, layout)
        found = of_content(source.sha256)
    if found is None:
        raise LookupError(source.sha256)
    return found


def _create(source: Source, layout: Layout) -> None:
    now = datetime.now(UTC)
    values = {
        "name": source.name,
        "path": source.path,
        "sha256": source.sha256,
        "encoding": layout.encoding,
        "delimiter": layout.delimiter,
        "columns": layout.columns,
        "status": IMPORTING,
        "total_rows": 0,
        "bad_rows": 0,
        "byte_offset": layout.start.offset,
        "line": layout.start.line,
        "created_at": now,
        "updated_at": now,
    }
    with db.session() as session:
        session.execute(insert(Dataset).values(values))


def of_content(sha256: str) -> Progress | None:
    with db.session() as session:
        row = session.scalar(select(Dataset).where(Dataset.sha256 == sha256))
        return _progress(row) if row else None


def _progress(row: Dataset) -> Progress:
    place = Place(row.byte_offset, row.line)
    return Progress(
        data_id=row.id,
        layout=Layout(row.encoding, row.delimiter, row.columns, place),
        place=place,
        total_rows=row.total_rows,
        bad_rows=row.bad_rows,
        completed=row.status == COMPLETED,
    )


def write(progress: Progress, chunk: Chunk) -> Progress:
    """Keep `chunk`, which begins where `progress` is; gives the new progress.

    If another process has got further meanwhile, nothing is written and its progress is given.
    """
    after = Progress(
        progress.data_id,
        progress.layout,
        chunk.end,
        progress.total_rows + len(chunk.rows) + len(chunk.bad),
        progress.bad_rows + len(chunk.bad),
        chunk.last,
    )
    with db.session() as session:
        # First, so that whoever comes second finds out before it has written anything.
        if _moved(session, progress, after):
            _insert(session, progress, chunk)
            return after
    return current(progress.data_id)


def _moved(session: Any, before: Progress, after: Progress) -> bool:
    here = (
        Dataset.id == before.data_id,
        Dataset.byte_offset == before.place.offset,
        Dataset.status == IMPORTING,
    )
    changed: CursorResult[Any] = session.execute(
        update(Dataset)
        .where(*here)
        .values(
            byte_offset=after.place.offset,
            line=after.place.line,
            total_rows=after.total_rows,
            bad_rows=after.bad_rows,
            status=COMPLETED if after.completed else IMPORTING,
            updated_at=datetime.now(UTC),
        )
        .execution_options(synchronize_session=False)
    )
    return changed.rowcount == 1


def _insert(session: Any, progress: Progress, chunk: Chunk) -> None:
    data_id = progress.data_id
    if chunk.rows:
        statement = _BY_STYLE[session.bind.dialect.paramstyle]
        rows = [(data_id, line, data) for line, data in chunk.rows]
        session.connection().exec_driver_sql(statement, rows)
    if bad := chunk.bad[: max(0, MOST_BAD_ROWS - progress.bad_rows)]:
        values = [{"dataset_id": data_id, "line": line, "reason": why} for line, why in bad]
        session.execute(insert(DatasetBadRow), values)


def current(data_id: int) -> Progress:
    """The progress as it is kept; raises LookupError for an unknown dataset."""
    with db.session() as session:
        row = session.get(Dataset, data_id)
        if row is None:
            raise LookupError(data_id)
        return _progress(row)


def bad_rows(data_id: int) -> Sequence[tuple[int, str]]:
    """The first bad rows, at most MOST_BAD_ROWS, each with its line and reason."""
    wanted = select(DatasetBadRow.line, DatasetBadRow.reason)
    with db.session() as session:
        found = session.execute(
            wanted.where(DatasetBadRow.dataset_id == data_id).order_by(DatasetBadRow.line)
        )
        return [(line, reason) for line, reason in found]


def rows(data_id: int, most: int = ROWS_AT_A_TIME) -> Iterator[dict[str, Any]]:
    """All rows in their order; no transaction stays open between parts of `most` rows."""
    after = 0
    wanted = select(DatasetRow.line, DatasetRow.data).where(DatasetRow.dataset_id == data_id)
    while True:
        part = wanted.where(DatasetRow.line > after).order_by(DatasetRow.line).limit(most)
        with db.session() as session:
            found = session.execute(part).all()
        for line, data in found:
            yield data
            after = line
        if len(found) < most:
            return


def unknown(data_id: int) -> str:
    """What to say of an id that no dataset has."""
    newest = ", ".join(map(str, newest_ids()))
    known = f"the newest are {newest}" if newest else "none is imported yet"
    return f"No dataset has the id {str(data_id)[:20]}; {known}."


def newest_ids(most: int = 10) -> Sequence[int]:
    with db.session() as session:
        return session.scalars(select(Dataset.id).order_by(Dataset.id.desc()).limit(most)).all()


def save_columns(data_id: int, columns: list[dict[str, Any]]) -> None:
    """Replace what is kept about the dataset's columns, all at once."""
    shared = {"dataset_id": data_id, "updated_at": datetime.now(UTC)}
    with db.session() as session:
        session.execute(delete(DatasetColumn).where(DatasetColumn.dataset_id == data_id))
        values = [{**shared, "position": n, **each} for n, each in enumerate(columns, 1)]
        session.execute(insert(DatasetColumn), values)
