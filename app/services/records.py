"""Records and items: a change is one conditional statement, so a second run finds it done."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, insert, update
from sqlalchemy.exc import IntegrityError

from app import db
from app.models import Item, Record

LONGEST_ID = 255  # characters


def put(record_id: object, value: Any) -> bool:
    """Give a record this value, a new one if there is none; False if it had it before.

    Raises ValueError for an id that can't be kept.
    """
    written = json.dumps(value, sort_keys=True, ensure_ascii=True)
    identity = _identity(record_id)
    return _changed(identity, written) or _added(identity, written)


def _changed(record_id: str, written: str) -> bool:
    values = {"value": written, "version": Record.version + 1, "updated_at": datetime.now(UTC)}
    return _update(Record, values, Record.id == record_id, Record.value != written)


def _added(record_id: str, written: str) -> bool:
    values = {"id": record_id, "value": written, "version": 1, "updated_at": datetime.now(UTC)}
    # It is there already: with this value, or made a moment ago with another one.
    return _insert(Record, values, lambda: _changed(record_id, written))


def process(item_id: object) -> bool:
    """Mark an item as processed, a new one if there is none; False if it was before."""
    identity, now = _identity(item_id), {"processed_at": datetime.now(UTC)}
    open_one = Item.id == identity, Item.processed_at.is_(None)
    return _insert(Item, {"id": identity, **now}, lambda: _update(Item, now, *open_one))


def _identity(given: object) -> str:
    identity = str(given)
    if not 0 < len(identity) <= LONGEST_ID or not identity.isprintable():
        raise ValueError(f"An id has 1 to {LONGEST_ID} printable characters.")
    return identity


def _insert(table: Any, values: dict[str, Any], otherwise: Callable[[], bool]) -> bool:
    with suppress(IntegrityError), db.session() as session:
        session.execute(insert(table).values(**values))
        return True
    return otherwise()


def _update(table: Any, values: dict[str, Any], *where: ColumnElement[bool]) -> bool:
    statement = update(table).where(*where).values(**values)
    with db.session() as session:
        done: CursorResult[Any] = session.execute(  # type: ignore[assignment]
            statement.execution_options(synchronize_session=False)
        )
        return done.rowcount == 1
