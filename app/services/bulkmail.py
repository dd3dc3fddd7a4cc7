"""A mail to many: who gets it, and how far it is. It is kept under the id of its task."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from app import db, patience
from app.models import BulkMail, BulkMailRecipient
from app.models.mail import LONGEST_ADDRESS
from app.services import mailaddress, subscribers

BATCH = 500  # recipients
MOST_SHOWN = 100  # failed recipients in a result
# After which a mail that no task has finished is given up: its message is lost.
ABANDONED = timedelta(days=30)


class UnusableError(Exception):
    """It can't be said who should get the mail."""


@dataclass(frozen=True)
class Recipient:
    """An address, or a text that is none with the reason."""

    address: str
    error: str | None = None


@dataclass(frozen=True)
class Mailing:
    """How far a mail to many is: all recipients up to `position` are dealt with."""

    id: str
    total: int
    position: int
    duplicates: int

    @property
    def is_done(self) -> bool:
        return self.position >= self.total

    @property
    def batch_end(self) -> int:
        return min(self.position + BATCH, self.total)


def checked(recipients: Iterable[Any]) -> list[Recipient]:
    """Each as the service writes it, or with what is wrong with it."""
    return [_checked(each) for each in recipients]


def _checked(recipient: Any) -> Recipient:
    if not isinstance(recipient, str):
        return Recipient(_kept(str(recipient)), "An address must be text.")
    try:
        return Recipient(mailaddress.normalised(recipient))
    except ValueError as error:
        return Recipient(_kept(recipient), str(error))


def _kept(text: str) -> str:
    """As much of a text as any database can keep."""
    return text.encode(errors="replace").decode().replace("\0", "?")[:LONGEST_ADDRESS]


def child_id(bulk_id: str, address: str) -> str:
    """The id of the task that mails one recipient: the same whenever it is published."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{bulk_id}/{address}"))


def begun(
    bulk_id: str, recipients: Sequence[Any] | None = None, segment: str | None = None
) -> Mailing:
    """The mailing of this id, made now if there is none; raises UnusableError."""
    found = find(bulk_id)
    if found is None:
        _make(bulk_id, recipients, segment)
        found = find(bulk_id)
    if found is None:
        raise UnusableError("Its recipients are no longer kept.")
    return found


def _make(bulk_id: str, recipients: Sequence[Any] | None, segment: str | None) -> None:
    if recipients is not None and segment is not None:
        raise UnusableError("Give either recipients or a segment.")
    if recipients is not None:
        keep(bulk_id, checked(recipients))
    elif segment is not None:
        _keep_segment(bulk_id, segment)


def keep(bulk_id: str, recipients: Sequence[Recipient]) -> int:
    """Keep who gets the mail, each once; gives the number, nothing changes if they are kept."""
    distinct = list({each.address: each for each in recipients}.values())
    rows = [
        {"bulk_id": bulk_id, "position": position, "address": each.address, "error": each.error}
        for position, each in enumerate(distinct, start=1)
    ]
    with db.session() as session:
        if _is_new(session, bulk_id, len(rows), len(recipients) - len(rows)) and rows:
            session.execute(insert(BulkMailRecipient), rows)
    return len(rows)


def _keep_segment(bulk_id: str, segment: str) -> None:
    try:
        subscribers.check(segment)
    except subscribers.UnknownSegmentError as error:
        raise UnusableError(str(error)) from None
    columns = ["bulk_id", "position", "address"]
    members = subscribers.numbered(segment, literal(bulk_id))
    total = select(func.count()).where(BulkMailRecipient.bulk_id == bulk_id).scalar_subquery()
    with patience.endless(), db.session() as session:
        if _is_new(session, bulk_id):
            session.execute(insert(BulkMailRecipient).from_select(columns, members))
            session.execute(update(BulkMail).where(BulkMail.id == bulk_id).values(total=total))


def _is_new(session: Session, bulk_id: str, total: int = 0, duplicates: int = 0) -> bool:
    now = datetime.now(UTC)
    row = {"id": bulk_id, "total": total, "duplicates": duplicates, "position": 0}
    made = session.execute(
        db.insert_new(session, BulkMail).returning(BulkMail.id),
        {**row, "created_at": now, "updated_at": now},
    )
    return made.first() is not None


def find(bulk_id: str) -> Mailing | None:
    with db.session() as session:
        row = session.get(BulkMail, bulk_id)
        return Mailing(row.id, row.total, row.position, row.duplicates) if row else None


def batch(mailing: Mailing) -> list[str]:
    """The addresses of the next batch; those that are none are left out."""
    position = BulkMailRecipient.position
    query = select(BulkMailRecipient.address).where(
        BulkMailRecipient.bulk_id == mailing.id,
        position > mailing.position,
        position <= mailing.batch_end,
        BulkMailRecipient.error.is_(None),
    )
    with db.session() as session:
        return list(session.scalars(query.order_by(position)))


def noted(mailing: Mailing) -> Mailing:
    """The mailing after its next batch was queued."""
    after = replace(mailing, position=mailing.batch_end)
    behind = BulkMail.position < after.position
    with db.session() as session:
        session.execute(
            update(BulkMail)
            .where(BulkMail.id == mailing.id, behind)
            .values(position=after.position)
        )
    return after


def summary(mailing: Mailing) -> dict[str, Any]:
    """The result; `sent` mails are queued, `failed` are the first addresses that are none."""
    rows = select(BulkMailRecipient).where(
        BulkMailRecipient.bulk_id == mailing.id, BulkMailRecipient.error.is_not(None)
    )
    with db.session() as session:
        failed = session.scalar(select(func.count()).select_from(rows.subquery())) or 0
        first = session.scalars(rows.order_by(BulkMailRecipient.position).limit(MOST_SHOWN))
        return {
            "status": "completed",
            "total": mailing.total,
            "sent": mailing.total - failed,
            "failed": [{"recipient": each.address, "error": each.error} for each in first],
            "duplicates": mailing.duplicates,
        }


def discard(bulk_id: str) -> None:
    """Forget a mailing whose task could not be queued."""
    _delete(BulkMail.id == bulk_id)


def forget(before: datetime) -> None:
    """Delete mailings that were finished earlier, and those that nobody will finish."""
    is_done = BulkMail.position >= BulkMail.total
    _delete(BulkMail.updated_at < before, or_(is_done, BulkMail.updated_at < before - ABANDONED))


def _delete(*which: ColumnElement[bool]) -> None:
    ids = select(BulkMail.id).where(*which)
    with patience.endless(), db.session() as session:
        session.execute(delete(BulkMailRecipient).where(BulkMailRecipient.bulk_id.in_(ids)))
        session.execute(delete(BulkMail).where(*which))
