"""Task ids that the service has handed out."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class TaskRecord(Base):
    """An id that the service has handed out; times are UTC.

    After `expires_at` the task's result is gone, unless the task ended late. `root_id` is the
    submission it belongs to; there, `position` is after those of the tasks that it waits for, and
    `parent_id` is the task or group whose result it takes.
    """

    __tablename__ = "tasks"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    root_id: Mapped[str] = mapped_column(String(255), index=True)
    parent_id: Mapped[str | None] = mapped_column(String(255))
    position: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class Submission(Base):
    """What a caller asked for, by the id of the answer: a task, a workflow's last one, or a group.

    `caller` is who the caller says it is, or its address.
    """

    __tablename__ = "submissions"
    __table_args__ = (Index("ix_submissions_caller", "caller", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    caller: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
