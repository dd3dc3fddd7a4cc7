"""Databases of each earlier revision, with rows in them, brought to the newest and back."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, inspect

from app import create_app, db, migrations, registry, settings
from app.models import Base
from app.services import datasets
from app.services.payments import ledger
from tests.support import HOME

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, 30, 15, 250, UTC)
TIMES = {"created_at": NOW, "updated_at": NOW}
# A row of each table, by the revision that made it; in an order that its references allow.
ROWS = {
    "0001": {
        "tasks": {
            "id": "t-1",
            "name": "tasks.send_email",
            "root_id": "t-1",
            "created_at": NOW,
            "expires_at": NOW,
        }
    },
    "0002": {
        "datasets": {
            "id": 7,
            "name": "people.csv",
            "path": "people.csv",
            "sha256": "0" * 64,
            "encoding": "utf-8",
            "delimiter": ",",
            "columns": ["id", "näme"],
            "status": "completed",
            "total_rows": 2**40,
            "bad_rows": 1,
            "byte_offset": 2**40,
            "line": 3,
            **TIMES,
        },
        "dataset_rows": {"dataset_id": 7, "line": 2**40, "data": {"id": "1", "näme": "Ada ☕"}},
        "dataset_bad_rows": {"dataset_id": 7, "line": 3, "reason": "The row has 1 fields."},
        "dataset_columns": {
            "dataset_id": 7,
            "position": 1,
            "name": "id",
            "kind": "integer",
            "rows": 1,
            "missing": 0,
            "different": None,
            "outliers": 0,
            "statistics": {"mean": 1.5},
            "updated_at": NOW,
        },
        "payments": {
            "order_id": "A-1",
            "amount": 999_999_999_999_999_999,
            "currency": "USD",
            "method": "success",
            "status": "completed",
            "transaction_id": "sandbox_1",
            "error": None,
            "task_id": "t-2",
            **TIMES,
        },
        "sandbox_charges": {
            "idempotency_key": "A-1",
            "amount": 125_000,
            "currency": "USD",
            "transaction_id": "sandbox_1",
            "created_at": NOW,
        },
        "webhook_deliveries": {
            "id": "msg_1",
            "url": "https://example.com/",
            "event": None,
            "status_code": 204,
            "attempts": 1,
            "state": "delivered",
            "task_id": "t-3",
            **TIMES,
        },
    },
}
ROWS["0002"] |= ROWS["0001"]


@pytest.fixture
def loaded(tmp_path, database):
    return settings.load({"STATE_DIR": str(tmp_path), "DATABASE_URL": database})


def alembic(loaded, action, revision):
    """What a person does with Alembic's command, over our connection."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(HOME / "app" / "migrations"))
    with db.engine(loaded.database_url).begin() as connection:
        config.attributes["connection"] = connection
        action(config, revision)


def tables(connection):
    """The tables as they are, which the models of today may not fit."""
    there = MetaData()
    there.reflect(connection)
    return there.tables


def fill(loaded, rows):
    with db.engine(loaded.database_url).begin() as connection:
        there = tables(connection)
        for name, row in rows.items():
            connection.execute(there[name].insert().values(row))


def kept(loaded, rows):
    """What there is in these tables, in the columns that these rows have."""
    with db.engine(loaded.database_url).connect() as connection:
        there = tables(connection)
        return {
            name: [
                {column: in_utc(found[column]) for column in row}
                for found in connection.execute(there[name].select()).mappings()
            ]
            for name, row in rows.items()
        }


def in_utc(value):
    # SQLite forgets the time zone; the tables are in UTC.
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return value


def each_once(rows):
    return {name: [row] for name, row in rows.items()}


def differences(loaded):
    with db.engine(loaded.database_url).connect() as connection:
        assert migrations.current(connection) == migrations.HEAD
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)


def schema(loaded):
    """All that there is: tables, their columns, keys and indexes."""
    with db.engine(loaded.database_url).connect() as connection:
        found = inspect(connection)
        return {
            name: (
                sorted(str(column) for column in found.get_columns(name)),
                found.get_pk_constraint(name),
                found.get_foreign_keys(name),
                sorted(str(index) for index in found.get_indexes(name)),
            )
            for name in found.get_table_names()
        }


@pytest.mark.parametrize("revision", ROWS)
def test_an_earlier_database_keeps_its_rows(loaded, revision):
    """And what it says is still understood."""
    rows = ROWS[revision]
    alembic(loaded, command.upgrade, revision)
    fill(loaded, rows)
    db.upgrade(loaded)
    assert differences(loaded) == []
    assert kept(loaded, rows) == each_once(rows)
    with create_app(loaded, role="client").app_context():
        assert [part.name for part in registry.find("t-1").parts] == ["tasks.send_email"]
        if "payments" in rows:
            assert ledger.find("A-1").amount == Decimal("99999999999999.9999")
            assert list(datasets.rows(7)) == [{"id": "1", "näme": "Ada ☕"}]


def test_each_step_back_leaves_what_was_there_before(loaded):
    """Down to nothing, with rows in the tables, and up again."""
    steps = {}
    for revision in ROWS:
        alembic(loaded, command.upgrade, revision)
        steps[revision] = schema(loaded)
    fill(loaded, ROWS["0002"])
    db.upgrade(loaded)
    for revision in reversed(ROWS):
        alembic(loaded, command.downgrade, revision)
        assert schema(loaded) == steps[revision]
        assert kept(loaded, ROWS[revision]) == each_once(ROWS[revision])
    alembic(loaded, command.downgrade, "base")
    assert list(schema(loaded)) == ["alembic_version"]
    db.upgrade(loaded)
    assert differences(loaded) == []
