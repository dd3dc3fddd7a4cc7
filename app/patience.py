"""How long this thread waits for an answer of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A request has 2 s, and asks a few times.
_seconds: ContextVar[float | None] = ContextVar("patience", default=0.8)


def seconds() -> float | None:
    """Seconds until an answer is given up; None waits for ever."""
    return _seconds.get()


@contextmanager
def endless() -> Iterator[None]:
    """For work that nobody waits for and that may take long."""
    before = _seconds.set(None)
    try:
        yield
    finally:
        _seconds.reset(before)
