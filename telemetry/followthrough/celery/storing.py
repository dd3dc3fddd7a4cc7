"""How long the result backend takes to note how a task ended."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from celery.backends.base import Backend

METHODS = ("mark_as_done", "mark_as_failure", "mark_as_retry")


class _Patched:
    stock: dict[str, Any] = {}  # noqa: RUF012  replaced, never changed


def connect(tell: Callable[[str, float], None]) -> None:
    """Call `tell(task_id, seconds)` for each such call of a backend that has them from Celery."""
    if not _Patched.stock:
        _Patched.stock = {name: vars(Backend)[name] for name in METHODS}
        for name, stock in _Patched.stock.items():
            setattr(Backend, name, _timed(stock, tell))


def disconnect() -> None:
    """Undo `connect`."""
    for name, stock in _Patched.stock.items():
        setattr(Backend, name, stock)
    _Patched.stock = {}


def _timed(stock: Any, tell: Callable[[str, float], None]) -> Any:
    @functools.wraps(stock)
    def timed(self: Any, task_id: str, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return stock(self, task_id, *args, **kwargs)
        finally:
            tell(task_id, time.perf_counter() - start)

    return timed
