"""The tables of mail, reports, images, records, sources, cancelling and the schedule."""

from __future__ import annotations

from datetime import UTC, datetime

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
    op.drop_table("submissions")
    op.drop_index("ix_tasks_root_id", "tasks")
    for column in ("parent_id", "position"):
        op.drop_column("tasks", column)
    for table in ("checkpoints", "items", "records"):
        op.drop_table(table)
    for table in ("etl_runs", "source_records", "sources"):
        op.drop_table(table)
    for table in ("subscribers", "bulk_mail_recipients", "bulk_mails", "sent_mails"):
        op.drop_table(table)
    for table in ("sessions", "period_runs"):
        op.drop_table(table)
    op.drop_index("ix_payments_created_at", "payments")
    op.drop_table("reports")


def _mail() -> None:
    op.create_table(
        "sent_mails",
        sa.Column("message_id", sa.String(255), primary_key=True),
        sa.Column("task_id", sa.String(255), nullable=False),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_sent_mails_sent_at", "sent_mails", ["sent_at"])
    op.create_table(
        "bulk_mails",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_bulk_mails_updated_at", "bulk_mails", ["updated_at"])
    op.create_table(
        "bulk_mail_recipients",
        sa.Column("bulk_id", sa.String(255), sa.ForeignKey("bulk_mails.id"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("error", sa.Text()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "subscribers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("email", sa.String(320), nullable=False, unique=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("weekly_digest", sa.Boolean(), nullable=False),
        sa.Column("unsubscribed_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )


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
    op.create_table(
        "records",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "items",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("processed_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_checkpoints_updated_at", "checkpoints", ["updated_at"])


def _sources() -> None:
    sources = op.create_table(
        "sources",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "source_records",
        sa.Column("source_id", sa.Integer(), sa.ForeignKey("sources.id"), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.String(255), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "etl_runs",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("source_id", sa.Integer(), sa.ForeignKey("sources.id"), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("valid_records", sa.Integer(), nullable=False),
        sa.Column("saved_records", sa.Integer(), nullable=False),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("error", sa.String(1000)),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_etl_runs_source_id_started_at", "etl_runs", ["source_id", "started_at"])
    op.create_index("ix_etl_runs_updated_at", "etl_runs", ["updated_at"])
    now = datetime.now(UTC)
    shared = {"enabled": True, "created_at": now, "updated_at": now}
    # One by one and without ids, so that PostgreSQL counts on from them.
    for sample in _SAMPLES:
        op.bulk_insert(sources, [{**sample, **shared}])


# Sources that ship with the service.
_SAMPLES = [
    {
        "name": "sample cities",
        "kind": "file",
        "location": "cities.csv",
        "options": {
            "folder": "samples",
            "key": "code",
            "required": ["city", "country"],
            "types": {
                "population": "integer",
                "founded": "date",
                "capital": "boolean",
                "area_km2": "decimal",
            },
        },
    },
    {
        "name": "sample products",
        "kind": "file",
        "location": "products.json",
        "options": {
            "folder": "samples",
            "list": "catalogue.products",
            "key": "sku",
            "required": ["name", "price"],
            "types": {"price": "decimal", "in_stock": "integer", "discontinued": "boolean"},
        },
    },
    {
        "name": "sample orders",
        "kind": "http_json",
        "location": "/api/samples/orders",
        "options": {
            "list": "orders",
            "key": "id",
            "required": ["customer"],
            "types": {"id": "integer", "ordered_at": "datetime", "total": "decimal"},
        },
    },
]


def _tasks() -> None:
    op.add_column("tasks", sa.Column("position", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("parent_id", sa.String(255)))
    op.create_index("ix_tasks_root_id", "tasks", ["root_id"])
    op.create_table(
        "submissions",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("caller", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_submissions_caller", "submissions", ["caller", "created_at", "id"])
    op.create_index("ix_submissions_expires_at", "submissions", ["expires_at"])


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
