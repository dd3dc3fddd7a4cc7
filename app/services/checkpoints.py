"""A long work that can be left and taken up again: the digest of a list, item by item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from app import db
from app.models import Checkpoint

LARGEST_RANGE = 10**9


class State(NamedTuple):
    """How many items are done, and the digest of them."""

    position: int = 0
    digest: str = ""


def items(data: object) -> Sequence[Any]:
    """A list's items, or those of a range of so many numbers; raises ValueError."""
    if isinstance(data, list):
        return data
    if type(data) is int and 0 <= data <= LARGEST_RANGE:
        return range(data)
    raise ValueError(f"data: Must be a list, or a number from 0 to {LARGEST_RANGE}.")


def step(state: State, item: Any) -> State:
    """One item more."""
    written = json.dumps(item, sort_keys=True)
    return State(state.position + 1, sha256(f"{state.digest}{written}".encode()).hexdigest())


def key(data: object) -> str:
    """What the same data are known by the next time."""
    return sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def load(identity: str) -> State:
    with db.session() as session:
        kept = session.get(Checkpoint, identity)
        return State(kept.position, kept.digest) if kept else State()


def save(identity: str, state: State) -> None:
    """Keep how far it has come, unless another run has come further."""
    values = {**state._asdict(), "updated_at": datetime.now(UTC)}
    try:
        with db.session() as session:
            session.execute(insert(Checkpoint).values(id=identity, **values))
    except IntegrityError:
        behind = Checkpoint.id == identity, Checkpoint.position < state.position
        with db.session() as session:
            session.execute(update(Checkpoint).where(*behind).values(**values))


def forget(identity: str) -> None:
    with db.session() as session:
        session.execute(delete(Checkpoint).where(Checkpoint.id == identity))


def forget_old(before: datetime) -> None:
    """Delete what nobody has taken up again since `before`."""
    with db.session() as session:
        session.execute(delete(Checkpoint).where(Checkpoint.updated_at < before))
