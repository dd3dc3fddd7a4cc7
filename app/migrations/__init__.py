"""Alembic's migrations, applied in the process, so no alembic.ini is needed."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Known here so that a process with an up-to-date database need not load Alembic.
HEAD = "0003"
LOCK = 7_204_291

logger = logging.getLogger(__name__)


def upgrade(engine: Engine, lock: Path) -> None:
    """Bring the database to HEAD; one process does it, others that start meanwhile wait."""
    with engine.connect() as connection:
        if current(connection) == HEAD:
            return
    with _locked(lock), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        _apply(connection)


def current(connection: Connection) -> str | None:
    """The revision the database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _apply(connection: Connection) -> None:
    # It tells about its plugins as it is imported; what it did is one line of ours.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command  # noqa: PLC0415  needed once in a database's life
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    logger.info("database brought to revision %s", HEAD)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
