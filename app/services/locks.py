"""Lets one process at a time work on a thing; a process that dies lets go of it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from flask import current_app
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app import db, patience

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.settings import Settings


@contextmanager
def held(name: str) -> Iterator[None]:
    """Wait until no other process holds `name`, then hold it; threads of one process may share it.

    Processes of several hosts exclude each other if they share a PostgreSQL.
    """
    settings: Settings = current_app.extensions["settings"]
    engine = db.engine(settings.database_url)
    with _by_server(engine, name) if engine.name == "postgresql" else _by_file(settings, name):
        yield


def number(name: str) -> int:
    """A place among 2**62 that stands for `name`."""
    return int.from_bytes(sha256(name.encode()).digest()[:8]) >> 2


@contextmanager
def _by_server(engine: Engine, name: str) -> Iterator[None]:
    connection = engine.connect()
    try:
        with patience.endless():
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": number(name)})
        yield
    finally:
        # A connection that broke has let go already.
        with suppress(DBAPIError):
            connection.close()


@contextmanager
def _by_file(settings: Settings, name: str) -> Iterator[None]:
    # A byte of one file for each name, so that no file is left behind for it.
    with (settings.state_dir / "locks").open("ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, number(name))
        yield
