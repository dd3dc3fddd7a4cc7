"""Which task ids the service has handed out, and the one place that publishes tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Signature
from celery.result import AsyncResult, GroupResult
from flask import current_app
from sqlalchemy import delete, insert

from app import db
from app.celery import VISIBILITY_TIMEOUT
from app.models import TaskRecord

# A task that ended late is remembered past its time, for as long as one may be redelivered.
GRACE = timedelta(seconds=VISIBILITY_TIMEOUT)


def publish(signature: Signature) -> AsyncResult:
    """Send a task, chain, group or chord, whose every id is remembered before.

    Raises Unavailable when the broker or the result backend does not answer.
    """
    root = signature.freeze()
    _remember(_ids(root), str(signature.task), root.id)
    return signature.apply_async()


def _ids(result: Any) -> list[str]:
    ids: dict[str, None] = {}
    waiting = [result]
    while waiting:
        node = waiting.pop()
        ids[node.id] = None
        waiting += [node.parent] if node.parent else []
        waiting += node.results if isinstance(node, GroupResult) else []
    return list(ids)


def _remember(ids: list[str], name: str, root_id: str) -> None:
    now = datetime.now(UTC)
    expires = now + timedelta(seconds=current_app.extensions["settings"].result_expires)
    with db.session() as session:
        session.execute(
            insert(TaskRecord),
            [
                {
                    "id": i,
                    "name": name,
                    "root_id": root_id,
                    "created_at": now,
                    "expires_at": expires,
                }
                for i in ids
            ],
        )


def find(task_id: str) -> TaskRecord | None:
    """What is known about an id; None if the service never handed it out or forgot it."""
    with db.session() as session:
        record = session.get(TaskRecord, task_id)
        if record is not None:
            session.expunge(record)
        return record


def forget_expired() -> int:
    """Delete the ids whose results are gone; gives their number."""
    with db.session() as session:
        gone = delete(TaskRecord).where(TaskRecord.expires_at < datetime.now(UTC) - GRACE)
        return len(session.scalars(gone.returning(TaskRecord.id)).all())
