"""The workers and queues as they are now, asked for at most once a second and within one."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

from celery import Celery

from app.services.results import Results

PATIENCE = 0.6  # seconds in which workers answer
STRAGGLERS = 0.05  # seconds for those that nobody knew of
AGE = 1.0  # seconds for which an answer is given again
UNACKED = "unacked"  # kombu's key

T = TypeVar("T")


class Shared(Generic[T]):
    """What all threads ask for, asked once; an error is not kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = Lock()
        self._clock = clock
        self._kept: tuple[float, T] | None = None

    def get(self, ask: Callable[[], T]) -> T:
        with self._lock:
            if self._kept is None or self._clock() - self._kept[0] >= AGE:
                self._kept = None
                found = ask()
                self._kept = self._clock(), found
            return self._kept[1]


class Workers:
    """Asks the workers all at once; once those known from before have answered, waits no longer."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def ask(self, celery: Celery) -> list[dict[str, Any]]:
        """What each worker that answers says of itself, by name."""
        backend = celery.backend
        if not isinstance(backend, Results):
            return []
        ticket, end = str(uuid.uuid4()), time.monotonic() + PATIENCE
        celery.control.broadcast("overview", arguments={"ticket": ticket})
        found: dict[str, dict[str, Any]] = {}
        while (answer := backend.next_answer(ticket, self._left(end, set(found)))) is not None:
            found[answer["name"]] = answer
        self._known = set(found)
        return [found[name] for name in sorted(found)]

    def _left(self, end: float, found: set[str]) -> float:
        # Redis takes 0 for ever.
        left = max(0.01, end - time.monotonic())
        return min(left, STRAGGLERS) if self._known and self._known <= found else left


def queues(celery: Celery) -> dict[str, Any]:
    """Each queue's length and the age in seconds of its next message, and how many are unacked.

    Of a broker that isn't Redis only the lengths are known.
    """
    names = list(celery.amqp.queues)
    with celery.connection_for_write() as connection:
        channel = connection.default_channel
        if hasattr(channel, "client"):
            return _in_redis(channel.client, names)
        lengths = {name: _length(channel, name) for name in names}
    lines = {name: {"length": n, "oldest_age_seconds": None} for name, n in lengths.items()}
    return {"queues": lines, "unacked": None}


def _in_redis(client: Any, names: list[str]) -> dict[str, Any]:
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            # The last is the next.
            pipe.llen(name).lindex(name, -1)
        *found, held = pipe.hlen(UNACKED).execute()
    now = time.time()
    pairs = zip(names, found[::2], found[1::2], strict=True)
    lines = {name: {"length": n, "oldest_age_seconds": age(m, now)} for name, n, m in pairs}
    return {"queues": lines, "unacked": held}


def age(message: bytes | str | None, now: float) -> float | None:
    """Seconds since a message was published; None if there is none, or it doesn't say."""
    try:
        published = float(json.loads(message or "")["properties"]["timestamp"])
    except (ValueError, LookupError, TypeError):
        return None
    return max(0.0, round(now - published, 1))


def _length(channel: Any, name: str) -> int:
    try:
        return int(channel.queue_declare(name, passive=True).message_count)
    except channel.connection.client.channel_errors:
        # Nobody has declared it yet.
        return 0
