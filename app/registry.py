"""Which task ids the service has handed out, and the one place that publishes tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Signature
from celery.result import AsyncResult, GroupResult
from flask import current_app
from sqlalchemy import delete, insert, select

from app import db, patience
from app.models import TaskRecord
from app.services.broker import VISIBILITY_TIMEOUT
from app.services.results import Results


def publish(signature: Signature) -> AsyncResult:
    """Send a task, chain, group or chord, whose task ids are all remembered before.

    Raises UnreachableError if the broker or the result backend does not answer.
    """
    ask_result_backend()
    root = signature.freeze()
    ids = task_ids(root)
    remember(ids, str(signature.task), root.id)
    try:
        with current_app.extensions["breakers"]["broker"]():
            return signature.apply_async()
    except Exception:
        # Nobody was told these ids.
        forget(ids)
        raise


def ask_result_backend() -> None:
    """Raise UnreachableError unless the result backend answers."""
    # A task whose result can't be kept is better refused than taken.
    backend = current_app.extensions["celery"].backend
    if isinstance(backend, Results):
        with current_app.extensions["breakers"]["result backend"]():
            backend.ping()


def task_ids(result: Any) -> list[str]:
    """The ids of all tasks behind a result; a group's own id is none, nothing runs under it."""
    ids: dict[str, None] = {}
    waiting = [result]
    while waiting:
        node = waiting.pop()
        if isinstance(node, GroupResult):
            waiting += node.results
        else:
            ids[node.id] = None
        waiting += [node.parent] if node.parent else []
    return list(ids)


def remember(ids: list[str], name: str, root_id: str) -> None:
    """Keep these ids for as long as their results live."""
    now = datetime.now(UTC)
    shared = {
        "name": name,
        "root_id": root_id,
        "created_at": now,
        "expires_at": now + timedelta(seconds=current_app.extensions["settings"].result_expires),
    }
    with db.session() as session:
        session.execute(insert(TaskRecord), [{"id": each, **shared} for each in ids])


def forget(ids: list[str]) -> None:
    with db.session() as session:
        session.execute(delete(TaskRecord).where(TaskRecord.id.in_(ids)))


def is_fresh(task_id: str) -> bool | None:
    """Whether a result may still come for an id; None if the service doesn't know the id."""
    with db.session() as session:
        fresh = TaskRecord.expires_at > datetime.now(UTC)
        return session.scalar(select(fresh).where(TaskRecord.id == task_id))


def grace() -> timedelta:
    """How long an id is remembered past its time.

    A result lives from the end of its task on, and a task may end as late as it is redelivered.
    """
    settings = current_app.extensions["settings"]
    return timedelta(seconds=VISIBILITY_TIMEOUT + settings.result_expires)


def forget_expired() -> int:
    """Delete the ids whose results are gone; gives their number."""
    with patience.endless(), db.session() as session:
        gone = delete(TaskRecord).where(TaskRecord.expires_at < datetime.now(UTC) - grace())
        return len(session.scalars(gone.returning(TaskRecord.id)).all())
