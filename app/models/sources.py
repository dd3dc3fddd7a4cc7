"""Sources of rows, the rows taken from them, and the runs that took them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, DateTime, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Source(Base):
    """Where rows come from; `location` is an address, a path of this service, or a file."""

    __tablename__ = "sources"

    HTTP_JSON = "http_json"
    HTTP_CSV = "http_csv"
    FILE = "file"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    location: Mapped[str] = mapped_column(Text)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    enabled: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class SourceRecord(Base):
    """A source's row by its key; `updated_at` is when the run that wrote it began."""

    __tablename__ = "source_records"

    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    run_id: Mapped[str] = mapped_column(String(255))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class EtlRun(Base):
    """One run over a source: the step it has reached, and the counts of the steps it has passed."""

    __tablename__ = "etl_runs"
    __table_args__ = (Index("ix_etl_runs_source_id_started_at", "source_id", "started_at"),)

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id"))
    status: Mapped[str] = mapped_column(String(16))
    records: Mapped[int] = mapped_column(Integer)
    valid_records: Mapped[int] = mapped_column(Integer)
    saved_records: Mapped[int] = mapped_column(Integer)
    errors: Mapped[list[Any]] = mapped_column(JSON)
    error: Mapped[str | None] = mapped_column(String(1000))
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
