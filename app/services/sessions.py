"""Sessions: who holds a token is a subject, until it expires."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import delete, select

from app import db, patience
from app.models import SessionRecord

TOKEN_BYTES = 32
BATCH = 1000  # rows deleted in one transaction, so that none holds the table for long


@dataclass(frozen=True)
class Session:
    """A session as it is kept; times are UTC."""

    subject: str
    data: dict[str, Any]
    created_at: datetime
    expires_at: datetime


def create(subject: str, lifetime: timedelta, data: dict[str, Any]) -> tuple[str, Session]:
    """A new session and its token, which nobody can be told again."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    now = datetime.now(UTC)
    made = Session(subject, data, now, now + lifetime)
    with db.session() as session:
        session.add(SessionRecord(id=_id(token), **vars(made)))
    return token, made


def find(token: str) -> Session | None:
    """The session of a token; None if there is none, or it has expired."""
    alive = SessionRecord.expires_at > datetime.now(UTC)
    with db.session() as session:
        row = session.scalar(select(SessionRecord).where(SessionRecord.id == _id(token), alive))
        return _session(row) if row else None


def end(token: str) -> None:
    """Delete the session of a token, if there is one."""
    with db.session() as session:
        session.execute(delete(SessionRecord).where(SessionRecord.id == _id(token)))


def delete_expired() -> int:
    """Delete what has expired by now, in batches; gives its number."""
    now, cleaned = datetime.now(UTC), 0
    while batch := _delete_batch(now):
        cleaned += batch
    return cleaned


def _delete_batch(now: datetime) -> int:
    some = select(SessionRecord.id).where(SessionRecord.expires_at <= now).limit(BATCH)
    with patience.endless(), db.session() as session:
        gone = delete(SessionRecord).where(SessionRecord.id.in_(some)).returning(SessionRecord.id)
        return len(session.scalars(gone).all())


def _id(token: str) -> str:
    # A token is as hard to guess as a key: a fast hash is enough.
    return sha256(token.encode(errors="replace")).hexdigest()


def _session(row: SessionRecord) -> Session:
    return Session(row.subject, row.data, _utc(row.created_at), _utc(row.expires_at))


def _utc(kept: datetime) -> datetime:
    # SQLite forgets the time zone.
    return kept if kept.tzinfo else kept.replace(tzinfo=UTC)
