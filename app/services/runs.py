"""A periodic task's work, once a period, however often its tick arrives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app import db, patience, queues
from app.models import PeriodRun
from app.services.periods import Period

# Longer than a task may run: who has had a period in hand for as long was killed.
LEASE = timedelta(seconds=queues.LONGEST_RUN + 5 * 60)
KEPT = 100  # periods that are remembered

Result = dict[str, Any]


def once(name: str, period: Period, task_id: str, work: Callable[[], Result]) -> Result:
    """What `work` gives for this period: done now, or the kept result if it was done before.

    A task that finds another at it leaves it alone, and says skipped. One that was killed may
    begin again under its id at once, another when its lease is over: `work` must be idempotent.
    """
    with patience.endless():
        if not _claim(name, period.name, task_id):
            return _kept(name, period.name)
        try:
            result = work()
        except BaseException:
            _release(name, period.name, task_id)
            raise
        _finish(name, period.name, result)
        _forget(name, period.start - KEPT * (period.end - period.start))
        return result


def _claim(name: str, period: str, task_id: str) -> bool:
    """Take the period in hand; False if it is done, or in the hands of another."""
    return _opened(name, period, task_id) or _taken_over(name, period, task_id)


def _opened(name: str, period: str, task_id: str) -> bool:
    now = datetime.now(UTC)
    try:
        with db.session() as session:
            session.add(
                PeriodRun(
                    name=name,
                    period=period,
                    status=PeriodRun.STARTED,
                    task_id=task_id,
                    started_at=now,
                )
            )
    except IntegrityError:
        return False
    return True


def _taken_over(name: str, period: str, task_id: str) -> bool:
    now = datetime.now(UTC)
    free = or_(
        PeriodRun.task_id.is_(None),
        PeriodRun.task_id == task_id,
        PeriodRun.started_at < now - LEASE,
    )
    return _change(name, period, free, task_id=task_id, started_at=now)


def _release(name: str, period: str, task_id: str) -> None:
    # Without a database its own next try takes it over all the same.
    with suppress(SQLAlchemyError):
        _change(name, period, PeriodRun.task_id == task_id, task_id=None)


def _finish(name: str, period: str, result: Result) -> None:
    now = datetime.now(UTC)
    _change(name, period, status=PeriodRun.DONE, result=result, finished_at=now)


def _forget(name: str, before: datetime) -> None:
    with db.session() as session:
        old = PeriodRun.name == name, PeriodRun.started_at < before
        session.execute(delete(PeriodRun).where(*old))


def _change(name: str, period: str, *where: Any, **values: Any) -> bool:
    this = PeriodRun.name == name, PeriodRun.period == period, PeriodRun.status == PeriodRun.STARTED
    with db.session() as session:
        changed = update(PeriodRun).where(*this, *where).values(**values)
        return bool(session.scalars(changed.returning(PeriodRun.name)).all())


def _kept(name: str, period: str) -> Result:
    with db.session() as session:
        run = session.get_one(PeriodRun, (name, period))
        if run.status == PeriodRun.DONE:
            return dict(run.result)
    return {"status": "skipped", "period": period}
