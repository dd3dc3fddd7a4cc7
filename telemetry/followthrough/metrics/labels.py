"""Label values are bounded: what comes after the first N is counted under `__other__`."""

from __future__ import annotations

from .. import names
from . import catalogue

METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
TASKS = 200
QUEUES = 50
ERROR_TYPES = 30


class Bounded:
    """Lets the first `limit` values of a label through."""

    def __init__(self, label: str, limit: int) -> None:
        self._label = label
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if not value or value in self._known:
            return value
        if len(self._known) >= self._limit:
            catalogue.series_dropped.labels(self._label).inc()
            return names.OTHER
        self._known.add(value)
        return value


task = Bounded("task", TASKS)
queue = Bounded("queue", QUEUES)
_error_types: dict[str, Bounded] = {}


def error_type(task_name: str, value: str) -> str:
    """The class name of an error, bounded for each task."""
    bounded = _error_types.get(task_name)
    if bounded is None:
        bounded = _error_types.setdefault(task_name, Bounded("error_type", ERROR_TYPES))
    return bounded(value)


def method(value: str) -> str:
    """A known HTTP method, or `_OTHER` as the semantic conventions have it."""
    return value if value in METHODS else "_OTHER"
