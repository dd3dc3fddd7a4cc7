"""Celery's Redis result backend, without the subscription that each publish would make."""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend


class Results(RedisBackend):
    """Results are read when asked for; publishing opens no pub/sub connection that could hang."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing: `get()` on a result still subscribes by itself."""

    def ping(self) -> None:
        """Raise a RedisError unless the server answers."""
        self.client.ping()
