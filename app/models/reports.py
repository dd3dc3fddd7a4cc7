"""Reports that were made, and that are being made."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Report(Base):
    """One PDF; `reference` is who asked for it: a task's id, or a key such as a type and a day.

    `status` is generating, completed or failed; `file_path` is a path inside FILES_DIR, `size` is
    in bytes; times are UTC.
    """

    __tablename__ = "reports"

    GENERATING = "generating"
    COMPLETED = "completed"
    FAILED = "failed"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    reference: Mapped[str] = mapped_column(String(255))
    type: Mapped[str] = mapped_column(String(32))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(16))
    file_path: Mapped[str] = mapped_column(String(255))
    size: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
