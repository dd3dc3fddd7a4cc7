"""Webhooks that were sent or given up."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class WebhookDelivery(Base):
    """One message; `id` is its webhook-id, `state` is pending, delivered or failed; times are UTC.

    `status_code` is the last try's, none if nobody answered; `url` has no password and no query.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    url: Mapped[str] = mapped_column(String(2048))
    event: Mapped[str | None] = mapped_column(String(255))
    status_code: Mapped[int | None]
    attempts: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    task_id: Mapped[str] = mapped_column(String(255), index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
