"""Celery's Redis result backend, without the subscription that each publish would make."""

from __future__ import annotations

import contextlib
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from redis.exceptions import OutOfMemoryError

from app.services.broker import is_in_task


class Results(RedisBackend):
    """Results are read when asked for; publishing opens no pub/sub connection that could hang."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A task that has run waits for a full Redis as it does for one that is away.
        errors: tuple[type[Exception], ...] = self.connection_errors  # type: ignore[has-type]
        self.connection_errors = (*errors, OutOfMemoryError)

    def ensure(self, fun: Any, args: Any, **policy: Any) -> Any:
        if not is_in_task():
            policy["max_retries"] = 0
        return super().ensure(fun, args, **policy)

    def _ensure_retryable(self, *args: Any, **kwargs: Any) -> Any:
        if not is_in_task():
            kwargs["max_retries"] = 0
        return super()._ensure_retryable(*args, **kwargs)

    def _set_with_state(self, key: str, value: Any, state: str) -> Any:
        if state == states.STARTED:
            # Not worth waiting for a full Redis, which may still give what is queued.
            with contextlib.suppress(OutOfMemoryError):
                self._set(key, value)
            return None
        if state == states.RETRY and not is_in_task():
            # The retry is sent; failing here would send it twice.
            with contextlib.suppress(*self.connection_errors):
                return super()._set_with_state(key, value, state)
        return super()._set_with_state(key, value, state)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing: `get()` on a result still subscribes by itself."""

    def ping(self) -> None:
        """Raise a RedisError unless the server answers."""
        self.client.ping()
