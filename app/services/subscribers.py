"""The people who want the service's mails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select, update

from app import db
from app.models import Subscriber
from app.services import mailaddress

BATCH = 500

_ACTIVE = Subscriber.unsubscribed_at.is_(None)
_SEGMENTS: dict[str, ColumnElement[bool]] = {
    "all": _ACTIVE,
    "weekly_digest": and_(_ACTIVE, Subscriber.weekly_digest),
}
SEGMENTS = tuple(_SEGMENTS)


class UnknownSegmentError(Exception):
    """There is no such segment; the message names those there are."""


def add(email: str, name: str = "", *, weekly_digest: bool = False) -> None:
    """Subscribe an address, or change how it is subscribed; ValueError if it is none."""
    address = mailaddress.normalised(email)
    wanted = {"name": name, "weekly_digest": weekly_digest, "unsubscribed_at": None}
    with db.session() as session:
        new = {"email": address, "created_at": datetime.now(UTC), **wanted}
        session.execute(db.insert_new(session, Subscriber), new)
        session.execute(update(Subscriber).where(Subscriber.email == address).values(**wanted))


def remove(email: str) -> bool:
    """Send this address no more mails; whether it was subscribed."""
    address = mailaddress.normalised(email)
    with db.session() as session:
        found = session.scalar(select(Subscriber).where(Subscriber.email == address, _ACTIVE))
        if found:
            found.unsubscribed_at = datetime.now(UTC)
        return found is not None


def check(segment: str) -> None:
    """Raise UnknownSegmentError unless there is this segment."""
    if segment not in _SEGMENTS:
        known = ", ".join(SEGMENTS)
        raise UnknownSegmentError(f"There is no segment {segment[:64]!r}; there are {known}.")


def count(segment: str) -> int:
    with db.session() as session:
        members = select(func.count()).select_from(Subscriber).where(_SEGMENTS[segment])
        return session.scalar(members) or 0


def numbered(segment: str, *before: ColumnElement[Any]) -> Select[Any]:
    """The query for the addresses of a segment, each `before` it and its number from 1."""
    number = func.row_number().over(order_by=Subscriber.id)
    return select(*before, number, Subscriber.email).where(_SEGMENTS[segment])


def in_segment(segment: str) -> Iterator[list[str]]:
    """The addresses of a segment in batches, so that any number of them fits into memory."""
    check(segment)
    last = 0
    while batch := _after(segment, last):
        last = batch[-1][0]
        yield [email for _, email in batch]


def _after(segment: str, last: int) -> list[tuple[int, str]]:
    members = select(Subscriber.id, Subscriber.email).where(_SEGMENTS[segment])
    with db.session() as session:
        later = members.where(Subscriber.id > last).order_by(Subscriber.id)
        return [(number, email) for number, email in session.execute(later.limit(BATCH))]
