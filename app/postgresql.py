"""Connections to PostgreSQL that give up on a server which has fallen silent."""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from app import patience


class SilentError(psycopg.OperationalError):
    """The server took a command and did not answer in time."""


class Connection(psycopg.Connection[Any]):
    """Waits for an answer as long as `patience` says; psycopg itself would wait for ever."""

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        seconds = patience.seconds()
        try:
            return super().wait(gen, *args, **{"timeout": seconds, **options})
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
                raise
            # A late answer would be taken for that to the next command.
            self.pgconn.finish()
            raise SilentError(f"PostgreSQL did not answer within {seconds} s") from error


def install(engine: Engine) -> None:
    """Make all connections of `engine` such ones."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "handle_error", _give_up)


def _connect(_dialect: Any, _record: Any, args: Any, options: Any) -> Connection:
    return Connection.connect(*args, **options)


def _give_up(context: ExceptionContext) -> None:
    # A silent server would be silent to a new connection too, for another two seconds.
    if context.is_pre_ping and isinstance(context.original_exception, SilentError):
        context.is_disconnect = False
