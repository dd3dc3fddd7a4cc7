"""The database: made by any process, shared by all, on SQLite or PostgreSQL."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from app import db, migrations, patience, settings
from app.models import Base
from tests.support import HOME


@pytest.fixture
def loaded(tmp_path):
    return settings.load({"APP_ENV": "testing", "STATE_DIR": str(tmp_path / "state")})


@pytest.fixture
def connection(loaded):
    db.upgrade(loaded)
    with db.engine(loaded.database_url).connect() as connection:
        yield connection


def test_the_migrations_make_what_the_models_say(connection):
    """No difference is left between the migrated database and the models."""
    assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_known_head_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(HOME / "app" / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


def test_migrating_twice_changes_nothing(loaded, connection):
    db.upgrade(loaded)
    assert migrations.current(connection) == migrations.HEAD


def test_a_migration_may_take_long(loaded, monkeypatch):
    """A request's patience ends before a large table is changed, or another process is done."""
    given = []
    monkeypatch.setattr(migrations, "upgrade", lambda *_args: given.append(patience.seconds()))
    db.upgrade(loaded)
    assert given == [None]
    assert patience.seconds() < 2


def test_sqlite_is_safe_across_processes(connection):
    """Write-ahead log, and a writer waits for another instead of failing."""
    assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    assert connection.execute(text("PRAGMA busy_timeout")).scalar() == db.BUSY_TIMEOUT


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_with_psycopg(scheme):
    """The names that hosting providers and people use all work."""
    engine = db.engine(f"{scheme}://user:secret@127.0.0.1:1/app")
    assert engine.dialect.driver == "psycopg"
    assert engine.url.password == "secret"


def test_each_process_has_its_own_engine(loaded, monkeypatch):
    """A forked child must not use its parent's connections."""
    first = db.engine(loaded.database_url)
    assert db.engine(loaded.database_url) is first
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert db.engine(loaded.database_url) is not first


def test_a_database_that_is_away_is_a_503(make_app):
    """The caller is told to come back, and nothing of the database's address."""
    app = make_app()
    db.engine(app.extensions["settings"].database_url).dispose()
    app.extensions["settings"] = settings.load(
        {"APP_ENV": "testing", "DATABASE_URL": "postgres://user:secret@127.0.0.1:1/app"}
    )
    answer = app.test_client().get("/api/task-status/1")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "secret" not in answer.get_data(as_text=True)
