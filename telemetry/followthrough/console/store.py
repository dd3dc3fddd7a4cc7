"""The built-in trace store: one SQLite file, bounded by age and by size."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import structlog

from .span import Span

log = structlog.get_logger("followthrough.console")

VERSION = 1
# A trace is shown and answered as a whole, in memory.
SPANS_PER_TRACE = 10_000
# Room is made in steps, so that a full store doesn't delete at every request, and early, since
# SQLite's log and the request at hand come on top.
FULL, GOAL = 0.9, 0.8
CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

SCHEMA = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE IF NOT EXISTS traces(
  trace_id TEXT PRIMARY KEY, received REAL, start INTEGER, end INTEGER, spans INTEGER,
  errors INTEGER, root_order INTEGER, root_service TEXT, root_name TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS traces_received ON traces(received);
CREATE INDEX IF NOT EXISTS traces_start ON traces(start);
CREATE TABLE IF NOT EXISTS spans(
  trace_id TEXT, span_id TEXT, parent_id TEXT, service TEXT, name TEXT, kind TEXT,
  start INTEGER, duration INTEGER, error INTEGER, body TEXT, UNIQUE(trace_id, span_id));
CREATE TABLE IF NOT EXISTS operations(
  service TEXT, name TEXT, kind TEXT, seen REAL, PRIMARY KEY(service, name, kind)) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""

# A span sent twice is kept once: exporters send again when an answer got lost.
ADD_SPAN = "INSERT OR IGNORE INTO spans VALUES(?,?,?,?,?,?,?,?,?,?)"
ADD_TRACE = """
INSERT INTO traces VALUES(?,?,?,?,1,?,?,?,?) ON CONFLICT(trace_id) DO UPDATE SET
  received = excluded.received, start = min(start, excluded.start), end = max(end, excluded.end),
  spans = spans + 1, errors = errors + excluded.errors,
  root_order = min(root_order, excluded.root_order),
  root_service = iif(excluded.root_order < root_order, excluded.root_service, root_service),
  root_name = iif(excluded.root_order < root_order, excluded.root_name, root_name)
"""
ADD_OPERATION = """
INSERT INTO operations VALUES(?,?,?,?)
ON CONFLICT(service, name, kind) DO UPDATE SET seen = excluded.seen
"""
OLDEST = (
    "SELECT trace_id FROM traces ORDER BY received LIMIT max(1, (SELECT count(*) FROM traces) / 20)"
)
FORGET_OPERATIONS = (
    "DELETE FROM operations WHERE seen < coalesce((SELECT min(received) FROM traces), 9e999)"
)


class Store:
    """Spans in `path`, kept `max_age` seconds since their trace last grew, within `max_bytes`.

    Safe to use from several threads. A file that SQLite can't read is set aside as `*.corrupt`
    and a new one begun; other SQLite errors (disk full, say) reach the caller.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_age: float,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self._writer = self._open()
        except sqlite3.DatabaseError as error:
            if not _corrupt(error):
                raise
            self._writer = self._begin_anew()

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
                connection.close()
                self._delete()
                connection = self._connect()
            connection.executescript(SCHEMA)
            connection.execute("SELECT count(*) FROM traces").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 4194304")
        except BaseException:
            connection.close()
            raise
        return connection

    def _files(self) -> list[Path]:
        return [self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm")]

    def _delete(self) -> None:
        for file in self._files():
            file.unlink(missing_ok=True)

    def _begin_anew(self) -> sqlite3.Connection:
        aside = self.path.with_name(self.path.name + ".corrupt")
        log.warning("traces.corrupt", set_aside=str(aside))
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(aside)
        self._delete()
        return self._open()

    @contextlib.contextmanager
    def _healing(self) -> Iterator[None]:
        found = self._writer
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not _corrupt(error):
                raise
            with self._lock:
                if self._writer is found:
                    found.close()
                    self._writer = self._begin_anew()
            raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._healing(), self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                # Some errors end the transaction by themselves.
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for queries only; it doesn't wait for writers."""
        with self._healing():
            connection = sqlite3.connect(self.path)
            try:
                connection.execute("PRAGMA query_only = ON")
                yield connection
            finally:
                connection.close()

    def add(self, spans: Iterable[Span]) -> int:
        """Keep spans and make room for them; answers how many found their trace full."""
        now = self._clock()
        with self._writing() as connection:
            refused = sum(not _add(connection, span, now) for span in spans)
            self._make_room(connection)
        self._shrink()
        return refused

    def prune(self) -> None:
        """Delete what is too old, and the oldest while the store is too large."""
        oldest = self._clock() - self._max_age
        with self._writing() as connection:
            _delete(connection, "SELECT trace_id FROM traces WHERE received < ?", oldest)
            connection.execute("DELETE FROM operations WHERE seen < ?", (oldest,))
            self._make_room(connection)
        self._shrink()

    def _make_room(self, connection: sqlite3.Connection) -> None:
        if _used(connection) <= self._max_bytes * FULL:
            return
        while _used(connection) > self._max_bytes * GOAL and _delete(connection, OLDEST):
            pass
        connection.execute(FORGET_OPERATIONS)

    def _shrink(self) -> None:
        # Freed pages are used again; only a file that is too large itself gives them back.
        with self._healing(), self._lock:
            size = _pragma(self._writer, "page_count") * _pragma(self._writer, "page_size")
            if size > self._max_bytes:
                # Not execute(): it would stop after the first page.
                self._writer.executescript("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Close the file; the store can't be used any more."""
        with self._lock:
            self._writer.close()


def _corrupt(error: sqlite3.Error) -> bool:
    # The low byte; the rest tells what is corrupt. Python's own errors have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in CORRUPT


def _add(connection: sqlite3.Connection, span: Span, now: float) -> bool:
    held = connection.execute("SELECT spans FROM traces WHERE trace_id = ?", (span.trace_id,))
    if (held.fetchone() or (0,))[0] >= SPANS_PER_TRACE:
        return False
    identity = (span.trace_id, span.span_id, span.parent_id, span.service, span.name, span.kind)
    row = (*identity, span.start, span.duration, span.failed, span.to_json())
    if connection.execute(ADD_SPAN, row).rowcount:
        # The root is the span without parent, else the earliest.
        order = span.start if span.parent_id else 0
        root = (order, span.service, span.name)
        connection.execute(
            ADD_TRACE, (span.trace_id, now, span.start, span.end, span.failed, *root)
        )
        connection.execute(ADD_OPERATION, (span.service, span.name, span.kind, now))
    return True


def _used(connection: sqlite3.Connection) -> int:
    return (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * _pragma(
        connection, "page_size"
    )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _delete(connection: sqlite3.Connection, which: str, *values: object) -> int:
    chosen = [row[0] for row in connection.execute(which, values)]
    for table in ("spans", "traces"):
        connection.executemany(
            f"DELETE FROM {table} WHERE trace_id = ?",  # noqa: S608
            [(trace_id,) for trace_id in chosen],
        )
    return len(chosen)
