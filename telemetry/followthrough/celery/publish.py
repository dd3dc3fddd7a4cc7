"""Where a task is published: a count, a debug line, and the end of a span that failed to go."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from celery import Celery, signals
from opentelemetry.instrumentation.celery import utils
from opentelemetry.instrumentation.utils import unwrap
from wrapt import wrap_function_wrapper

from .. import metrics, names
from ..guard import guarded
from ..tell import logger
from .signals import connect as connect_signal

# The message on its way to the broker: the task's name and the id.
_sending: ContextVar[tuple[str, str] | None] = ContextVar("followthrough_sending", default=None)


class _Patched:
    done = False


def connect() -> None:
    """Count and log what is published; the stock instrumentor must be connected already."""
    connect_signal(signals.before_task_publish, on_publishing)
    connect_signal(signals.after_task_publish, on_published)
    if not _Patched.done:
        wrap_function_wrapper("celery", "Celery.send_task", _send_task)
        _Patched.done = True


def disconnect() -> None:
    """Undo the part of `connect` that isn't a signal."""
    if _Patched.done:
        unwrap(Celery, "send_task")
        _Patched.done = False


def on_publishing(sender: str, headers: Any = None, **_: Any) -> None:
    _sending.set((sender, _id(headers)))


def on_published(
    sender: str, routing_key: str | None = None, headers: Any = None, **_: Any
) -> None:
    _sending.set(None)
    queue = routing_key or ""
    metrics.count_published(sender, queue)
    logger.debug(names.TASK_PUBLISHED, task=sender, task_id=_id(headers), queue=queue)


def _id(headers: Any) -> str:
    return str((headers or {}).get("id", ""))


def _send_task(wrapped: Any, _app: Celery, args: Any, kwargs: Any) -> Any:
    try:
        return wrapped(*args, **kwargs)
    except Exception as error:
        _end_span(error)
        raise


@guarded("celery.publish_failed")
def _end_span(error: Exception) -> None:
    # Celery has no signal for this: the stock span would stay open, and current, for ever.
    sending = _sending.get()
    _sending.set(None)
    if sending is None:
        return
    name, task_id = sending
    task = utils.retrieve_task_from_sender({"sender": name})
    if (open_span := utils.retrieve_context(task, task_id, is_publish=True)) is not None:
        open_span[1].__exit__(type(error), error, error.__traceback__)
        utils.detach_context(task, task_id, is_publish=True)
