"""The database: one engine a process, sessions, and migrations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import migrations, patience
from followthrough.settings import SettingsError, without_password

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine, Insert

    from app.models import Base
    from app.settings import Settings

BUSY_TIMEOUT = 5000  # milliseconds a writer waits for another process's write
CONNECT_TIMEOUT = 2  # seconds

_engines: dict[tuple[int, str], Engine] = {}


@contextmanager
def session() -> Iterator[Session]:
    """A transaction in the app's database: committed at the end, rolled back on an error."""
    settings: Settings = current_app.extensions["settings"]
    with Session(engine(settings.database_url)) as opened, opened.begin():
        yield opened


def insert_new(session: Session, model: type[Base]) -> Insert:
    """An INSERT that leaves out rows whose key is there already."""
    # Both databases can, each by its own statement; the other's is not loaded.
    dialect = import_module(f"sqlalchemy.dialects.{session.get_bind().dialect.name}")
    statement: Insert = dialect.insert(model).on_conflict_do_nothing()
    return statement


def engine(url: str) -> Engine:
    """The engine of this process for `url`; a forked child can't share connections."""
    key = (os.getpid(), url)
    if key not in _engines:
        _engines[key] = _new_engine(url)
    return _engines[key]


def _new_engine(url: str) -> Engine:
    target = make_url(url)
    if target.drivername in ("postgres", "postgresql"):
        target = target.set(drivername="postgresql+psycopg")
    if target.get_backend_name() != "sqlite":
        return _new_server_engine(target)
    made = create_engine(target)
    event.listen(made, "connect", _prepare_sqlite)
    return made


def _new_server_engine(target: URL) -> Engine:
    # Here, so that a process with SQLite doesn't load psycopg.
    from app import postgresql  # noqa: PLC0415

    made = create_engine(
        target,
        pool_pre_ping=True,
        pool_timeout=CONNECT_TIMEOUT,
        connect_args={"connect_timeout": CONNECT_TIMEOUT},
    )
    postgresql.install(made)
    return made


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The timeout first: turning WAL on waits for other processes too.
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    # Readers and one writer don't wait for each other.
    connection.execute("PRAGMA journal_mode = WAL")
    # With WAL this survives a killed process; only a power cut can take the last commits.
    connection.execute("PRAGMA synchronous = NORMAL")


def upgrade(settings: Settings) -> None:
    """Bring the database to the newest schema; safe when several processes start at once.

    Raises SettingsError if DATABASE_URL names a database that doesn't open.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    lock = settings.state_dir / "migrate.lock"
    try:
        with patience.endless():
            migrations.upgrade(engine(settings.database_url), lock)
    except OperationalError as error:
        raise SettingsError([_does_not_open(settings.database_url, error)]) from error


def _does_not_open(url: str, error: OperationalError) -> str:
    # What follows the first line are a driver's guesses.
    reason = str(error.orig).partition("\n")[0]
    return (
        f"DATABASE_URL: {without_password(url)} does not open ({reason}); "
        "start that database, or name another"
    )


@click.command("migrate")
@with_appcontext
def migrate_command() -> None:
    """Bring the database to the newest schema."""
    try:
        upgrade(current_app.extensions["settings"])
    except SettingsError as error:
        raise click.ClickException("\n".join(error.problems)) from error
