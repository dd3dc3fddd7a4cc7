"""Mails that were sent, mails to many, and the people who subscribed."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base

LONGEST_ADDRESS = 320  # characters: 64, the @, 255


def _now() -> datetime:
    return datetime.now(UTC)


class SentMail(Base):
    """A mail that the server took; times are UTC."""

    __tablename__ = "sent_mails"

    message_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    task_id: Mapped[str] = mapped_column(String(255))
    recipient: Mapped[str] = mapped_column(String(LONGEST_ADDRESS))
    sent_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class BulkMail(Base):
    """A mail to many; `id` is its task's, `position` the last recipient whose mail is queued."""

    __tablename__ = "bulk_mails"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    total: Mapped[int] = mapped_column(Integer)
    position: Mapped[int] = mapped_column(Integer, default=0)
    duplicates: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=_now, onupdate=_now, index=True
    )


class BulkMailRecipient(Base):
    """One recipient, counted from 1; an `error` says why no mail goes there."""

    __tablename__ = "bulk_mail_recipients"
    __table_args__ = ({"sqlite_with_rowid": False},)

    bulk_id: Mapped[str] = mapped_column(ForeignKey("bulk_mails.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    address: Mapped[str] = mapped_column(String(LONGEST_ADDRESS))
    error: Mapped[str | None] = mapped_column(Text)


class Subscriber(Base):
    """Somebody who wants mail until `unsubscribed_at`; times are UTC."""

    __tablename__ = "subscribers"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    email: Mapped[str] = mapped_column(String(LONGEST_ADDRESS), unique=True)
    name: Mapped[str] = mapped_column(String(255), default="")
    weekly_digest: Mapped[bool] = mapped_column(default=False)
    unsubscribed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)
