"""Where a task is published: a count, a debug line, and the end of a span that failed to go."""

from __future__ import annotations

from typing import Any

from celery import signals

from .. import metrics, names
from .signals import connect as connect_signal
from .tell import logger


def connect() -> None:
    connect_signal(signals.after_task_publish, on_published)


def on_published(
    sender: str, routing_key: str | None = None, headers: Any = None, **_: Any
) -> None:
    queue = routing_key or ""
    metrics.count_published(sender, queue)
    logger.debug(names.TASK_PUBLISHED, task=sender, task_id=(headers or {}).get("id"), queue=queue)


def connect_failure() -> None:
    pass


def disconnect_failure() -> None:
    pass
