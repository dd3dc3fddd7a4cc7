"""How far each run has come: a row a run, which only moves forward."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app import db, patience
from app.models.sources import EtlRun
from app.services.failures import JobFailedError

STARTED, FETCHED, VALIDATED, TRANSFORMED, SAVED = STEPS = (
    "started",
    "fetched",
    "validated",
    "transformed",
    "saved",
)
FAILED, ABANDONED = "failed", "abandoned"
KEPT = timedelta(days=30)
LONGEST_ERROR = 1000  # characters, as in the table


@dataclass(frozen=True)
class Run:
    """A run; the counts are 0 before the step that makes them."""

    id: str
    source_id: int
    status: str
    records: int
    valid_records: int
    saved_records: int
    errors: list[dict[str, Any]]
    error: str | None
    started_at: datetime
    updated_at: datetime

    def has(self, step: str) -> bool:
        """Whether it has passed a step."""
        return self.status in STEPS and STEPS.index(self.status) >= STEPS.index(step)


def begun(run_id: str, source_id: int) -> Run:
    """The run with this id: a new one the first time, from the start again if it has failed."""
    now = datetime.now(UTC)
    new = {"source_id": source_id, "status": STARTED, "records": 0, "valid_records": 0}
    new |= {"saved_records": 0, "errors": [], "error": None, "started_at": now, "updated_at": now}
    with suppress(IntegrityError), db.session() as session:
        found = session.get(EtlRun, run_id)
        if found is None:
            session.execute(insert(EtlRun).values(id=run_id, **new))
        elif found.status not in STEPS:
            session.execute(update(EtlRun).where(EtlRun.id == run_id).values(**new))
    return get(run_id)


def get(run_id: str) -> Run:
    """The run with this id; raises JobFailedError."""
    with db.session() as session:
        row = session.get(EtlRun, run_id)
        if row is None:
            raise JobFailedError(f"No run has the id {run_id[:80]}.")
        return _run(row)


def passed(run: Run, step: str, **counts: Any) -> Run:
    """Note that a run has passed its next step; another process that did it too was right."""
    values = {"status": step, "updated_at": datetime.now(UTC), **counts}
    with db.session() as session:
        here = (EtlRun.id == run.id, EtlRun.status == run.status)
        session.execute(update(EtlRun).where(*here).values(**values))
    return get(run.id)


def fail(run_id: str, error: str) -> None:
    """Note that a run has failed; one that has saved its rows hasn't."""
    unfinished = EtlRun.status.in_(STEPS[:-1])
    values = {"status": FAILED, "error": error[:LONGEST_ERROR], "updated_at": datetime.now(UTC)}
    # The task's own end tells the same, so a database that is away must not change it.
    with suppress(OperationalError), db.session() as session:
        session.execute(update(EtlRun).where(EtlRun.id == run_id, unfinished).values(**values))


def last() -> dict[int, Run]:
    """The newest run of each source that has one, by the source's id."""
    newest = (
        select(EtlRun.source_id, func.max(EtlRun.started_at).label("at"))
        .group_by(EtlRun.source_id)
        .subquery()
    )
    same = (EtlRun.source_id == newest.c.source_id) & (EtlRun.started_at == newest.c.at)
    with db.session() as session:
        return {
            row.source_id: _run(row) for row in session.scalars(select(EtlRun).join(newest, same))
        }


def tidy(before: datetime) -> int:
    """Give up runs without a step since `before`, whose number it gives, and forget old ones."""
    now = datetime.now(UTC)
    stuck = (EtlRun.status.in_(STEPS[:-1]), EtlRun.updated_at < before)
    with patience.endless(), db.session() as session:
        session.execute(delete(EtlRun).where(EtlRun.updated_at < now - KEPT))
        given_up = update(EtlRun).where(*stuck).values(status=ABANDONED, updated_at=now)
        return len(session.scalars(given_up.returning(EtlRun.id)).all())


def _run(row: EtlRun) -> Run:
    return Run(
        row.id,
        row.source_id,
        row.status,
        row.records,
        row.valid_records,
        row.saved_records,
        row.errors,
        row.error,
        _utc(row.started_at),
        _utc(row.updated_at),
    )


def _utc(moment: datetime) -> datetime:
    # SQLite forgets the time zone; the tables are in UTC.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
