"""Which task ids the service has handed out, and the one place that publishes tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Signature, states
from celery.result import AsyncResult
from flask import current_app, has_request_context, request
from kombu.exceptions import BatchPublishError
from kombu.messaging import Producer
from sqlalchemy import delete, literal, select, tuple_
from sqlalchemy.orm import Session

from app import db, patience
from app.models import Submission, TaskRecord
from app.services import canvas
from app.services.breaker import UnreachableError
from app.services.results import Results

LONGEST_CALLER = 64  # characters, as in the table
AT_ONCE = 50  # tasks in one request to the broker


def publish(signature: Signature) -> AsyncResult:
    """Send a task, chain, group or chord, whose task ids are all remembered before.

    Raises UnreachableError if the broker or the result backend does not answer.
    """
    ask_result_backend()
    root = signature.freeze()
    ids = _remember_submission(signature, root)
    is_eager = current_app.extensions["celery"].conf.task_always_eager
    if is_eager:
        canvas.keep_ids_apart(signature)
    try:
        with current_app.extensions["breakers"]["broker"]():
            # What fails is told by the task's status, as with a worker.
            return signature.apply_async(**({"throw": False} if is_eager else {}))
    except Exception as error:
        if is_eager and not isinstance(error, UnreachableError):
            return _failed(root.id, ids, error)
        # Nobody was told these ids.
        forget([*ids, root.id])
        raise


def _failed(root_id: str, ids: Sequence[str], error: Exception) -> AsyncResult:
    """What a worker would do after a task that others wait for has failed: they fail too."""
    celery = current_app.extensions["celery"]
    for each in ids:
        if celery.AsyncResult(each).state == states.PENDING:
            celery.backend.store_result(each, error, states.FAILURE)
    return celery.AsyncResult(root_id)


def publish_all(signatures: Sequence[Signature], root_id: str) -> None:
    """Send the tasks of one kind that a task makes; each has its id already.

    A task may be sent twice: when its request failed and may have been heard, or the caller comes
    again. Ids that are known stay so.
    """
    if not signatures:
        return
    ids = [each.options["task_id"] for each in signatures]
    remember(ids, str(signatures[0].task), root_id)
    celery = current_app.extensions["celery"]
    with celery.producer_or_acquire() as producer:
        retry = celery.conf.task_publish_retry_policy
        send = producer.connection.ensure(producer, _send, **retry)
        for start in range(0, len(signatures), AT_ONCE):
            send(producer, signatures[start : start + AT_ONCE])


def _send(producer: Producer, signatures: Sequence[Signature]) -> None:
    """Send these in one request, where the broker is Redis."""
    try:
        # Not by itself before its end: a message is three commands.
        with producer.batch(max_size=4 * len(signatures)):
            for each in signatures:
                each.apply_async(producer=producer)
    except BatchPublishError as error:
        # As if each had been sent alone, so that what can be tried again is.
        raise error.__cause__ or error from None


def ask_result_backend() -> None:
    """Raise UnreachableError unless the result backend answers."""
    # A task whose result can't be kept is better refused than taken.
    backend = current_app.extensions["celery"].backend
    if isinstance(backend, Results):
        with current_app.extensions["breakers"]["result backend"]():
            backend.ping()


def remember(ids: Sequence[str], name: str, root_id: str) -> None:
    """Keep these ids of tasks that a task sends, for as long as their results live."""
    shared = {"name": name, "root_id": root_id, **_times()}
    with db.session() as session:
        new = db.insert_new(session, TaskRecord)
        session.execute(new, [{"id": each, **shared} for each in ids])


def _remember_submission(signature: Signature, root: Any) -> list[str]:
    ids, names, times = canvas.task_ids(root), canvas.names(signature), _times()
    name = names.get(root.id, str(signature.task))
    rows = [
        {"id": each, "name": names.get(each, name), "parent_id": parent, "position": position}
        for position, (each, parent) in enumerate(ids.items(), 1)
    ]
    with db.session() as session:
        new = db.insert_new(session, TaskRecord)
        session.execute(new, [{**row, "root_id": root.id, **times} for row in rows])
        submission = {"id": root.id, "name": name, "caller": caller(), **times}
        session.execute(db.insert_new(session, Submission), [submission])
    return list(ids)


def _times() -> dict[str, datetime]:
    now = datetime.now(UTC)
    lasting = timedelta(seconds=current_app.extensions["settings"].result_expires)
    return {"created_at": now, "expires_at": now + lasting}


def caller() -> str:
    """Who sent this request: who its header X-Caller says, else its address."""
    if not has_request_context():
        return ""
    return (request.headers.get("X-Caller") or request.remote_addr or "")[:LONGEST_CALLER]


def forget(ids: list[str]) -> None:
    with db.session() as session:
        session.execute(delete(TaskRecord).where(TaskRecord.id.in_(ids)))
        session.execute(delete(Submission).where(Submission.id.in_(ids)))


def is_fresh(task_id: str) -> bool | None:
    """Whether a result may still come for an id; None if the service doesn't know the id."""
    with db.session() as session:
        fresh = TaskRecord.expires_at > datetime.now(UTC)
        return session.scalar(select(fresh).where(TaskRecord.id == task_id))


@dataclass(frozen=True)
class Part:
    """A task of a submission."""

    id: str
    name: str
    parent_id: str | None


@dataclass(frozen=True)
class Known:
    """An id that was handed out: of one task, or of a workflow with all its `parts`, in order.

    `fresh`: a result may still come.
    """

    id: str
    parts: tuple[Part, ...]
    fresh: bool

    @property
    def is_workflow(self) -> bool:
        return len(self.parts) > 1 or self.parts[0].id != self.id


def find(task_id: str) -> Known | None:
    """What an id stands for; None if the service doesn't know it."""
    with db.session() as session:
        fresh = TaskRecord.expires_at > datetime.now(UTC)
        of_root = (TaskRecord.root_id == task_id) & (TaskRecord.position > 0)
        rows = session.execute(
            select(TaskRecord.id, TaskRecord.name, TaskRecord.parent_id, fresh)
            .where(of_root | (TaskRecord.id == task_id))
            .order_by(TaskRecord.position)
        ).all()
    parts = tuple(Part(row.id, row.name, row.parent_id) for row in rows)
    return Known(task_id, parts, bool(rows[-1][3])) if rows else None


@dataclass(frozen=True)
class Place:
    """Where a list of submissions goes on: after this one."""

    created_at: datetime
    id: str


@dataclass(frozen=True)
class Sent:
    """A submission, with its name."""

    known: Known
    name: str
    place: Place


def sent(whose: str, name: str | None, after: Place | None, limit: int) -> list[Sent]:
    """What a caller sent, the newest first, up to `limit`."""
    chosen = select(Submission).where(Submission.caller == whose)
    if name is not None:
        chosen = chosen.where(Submission.name == name)
    if after is not None:
        created = literal(after.created_at, Submission.created_at.type)
        place = tuple_(Submission.created_at, Submission.id)
        chosen = chosen.where(place < tuple_(created, literal(after.id)))
    newest = chosen.order_by(Submission.created_at.desc(), Submission.id.desc()).limit(limit)
    with db.session() as session:
        rows = list(session.scalars(newest))
        parts = _parts(session, [row.id for row in rows])
        return [_sent(row, parts[row.id]) for row in rows]


def _parts(session: Session, root_ids: list[str]) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {each: [] for each in root_ids}
    chosen = select(TaskRecord).where(TaskRecord.root_id.in_(root_ids), TaskRecord.position > 0)
    for row in session.scalars(chosen.order_by(TaskRecord.position)):
        found[row.root_id].append(Part(row.id, row.name, row.parent_id))
    return found


def _sent(row: Submission, parts: list[Part]) -> Sent:
    # SQLite forgets the time zone; the tables are in UTC.
    created = row.created_at if row.created_at.tzinfo else row.created_at.replace(tzinfo=UTC)
    return Sent(Known(row.id, tuple(parts), fresh=True), row.name, Place(created, row.id))


def sent_by(root_id: str) -> list[str]:
    """The ids of all tasks of a submission, those that its tasks sent themselves included."""
    with db.session() as session:
        chosen = select(TaskRecord.id).where(TaskRecord.root_id == root_id)
        return list(session.scalars(chosen.order_by(TaskRecord.position)))


def grace() -> timedelta:
    """How long an id is remembered past its time.

    A result lives from the end of its task on, and a task may end as late as it is redelivered.
    """
    settings = current_app.extensions["settings"]
    return timedelta(seconds=settings.visibility_timeout + settings.result_expires)


def forget_expired() -> int:
    """Delete the ids whose results are gone; gives their number."""
    with patience.endless(), db.session() as session:
        over = datetime.now(UTC) - grace()
        session.execute(delete(Submission).where(Submission.expires_at < over))
        gone = delete(TaskRecord).where(TaskRecord.expires_at < over)
        return len(session.scalars(gone.returning(TaskRecord.id)).all())
