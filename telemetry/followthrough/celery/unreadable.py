"""Messages that a worker can't read: kept in quarantine and told, and the worker lives.

kombu decodes an item that it has already popped, so garbage in a queue ends one worker after the
other; and Celery drops what it can't decode. The parts of both that are wrapped are private, so
they are looked at first: where they differ, all stays as it is.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import Consumer
from kombu.exceptions import DecodeError
from opentelemetry.instrumentation.utils import unwrap
from wrapt import wrap_function_wrapper

from .. import names
from ..guard import guarded
from . import aside, envelope, replaced

logger = structlog.get_logger("followthrough.celery")

CONSUMER = "celery.worker.consumer.consumer"
EXPECTED = {
    "on_decode_error": ["self", "message", "exc"],
    "on_unknown_message": ["self", "body", "message"],
    "on_invalid_task": ["self", "body", "message", "exc"],
    "create_task_handler": ["self", "promise"],
}
# What of kombu takes an item out of a queue and reads it.
POPS = "_brpop_read"
# What Celery raises over a message that says nonsense, where it has no name for it.
NONSENSE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class _Popping(threading.local):
    """The queue of the message that is being taken just now; empty where that isn't known."""

    queue = ""


class _State:
    undo: list[Callable[[], object]] = []  # noqa: RUF012  one for the process
    # Celery is about to log, with the whole body, what was told already.
    is_told = False


popping = _Popping()


def is_on() -> bool:
    """Whether what can't be read is told here."""
    return bool(_State.undo)


def connect() -> None:
    """Keep what can't be read from now on; for a worker's main process."""
    if is_on():
        return
    if wrong := [*_strange_consumer(), *_strange_redis()]:
        logger.warning(names.QUARANTINE_OFF, reason="celery or kombu differ", parts=wrong)
        return
    _wrap_consumer()
    _wrap_redis()


def disconnect() -> None:
    """Undo `connect`."""
    while _State.undo:
        _State.undo.pop()()


def _strange_consumer() -> list[str]:
    return [name for name, expected in EXPECTED.items() if _differs(Consumer, name, expected)]


def _strange_redis() -> list[str]:
    redis = _redis()
    if redis is None:
        return []
    wrong = [
        name
        for owner, name, expected in (
            (redis.Channel, POPS, ["self", "options"]),
            (redis.Transport, "_deliver", ["self", "message", "queue"]),
        )
        if _differs(owner, name, expected)
    ]
    return wrong if callable(getattr(redis, "loads", None)) else [*wrong, "loads"]


def _differs(owner: Any, name: str, expected: list[str]) -> bool:
    try:
        return list(inspect.signature(getattr(owner, name)).parameters) != expected
    except (AttributeError, TypeError, ValueError):
        return True


def _redis() -> Any:
    try:
        from kombu.transport import redis  # noqa: PLC0415  there may be none
    except ImportError:
        return None
    # kombu has it without a client too.
    return redis if vars(redis).get("redis") else None


def _wrap_consumer() -> None:
    wrappers = {
        "on_decode_error": _on_decode_error,
        "on_unknown_message": _on_unknown_message,
        "on_invalid_task": _on_invalid_task,
        "create_task_handler": _create_task_handler,
    }
    for name, wrapper in wrappers.items():
        _wrap(CONSUMER, Consumer, name, wrapper)
    log = logging.getLogger(CONSUMER)
    log.addFilter(_is_news)
    _State.undo.append(lambda: log.removeFilter(_is_news))


def _wrap(module: str, owner: type, name: str, wrapper: Any) -> None:
    wrap_function_wrapper(module, f"{owner.__name__}.{name}", wrapper)
    _State.undo.append(lambda: unwrap(owner, name))


def _wrap_redis() -> None:
    redis = _redis()
    if redis is None:
        return
    stock = redis.loads
    redis.loads = _reader(stock)
    _State.undo.append(lambda: setattr(redis, "loads", stock))
    _State.undo.append(replaced.method(redis.Transport, "_deliver", _deliverer))


def _reader(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def loads(item: Any) -> Any:
        try:
            return stock(item)
        except Exception as error:
            # kombu reads much else with it, and lives with an error but for what it has popped.
            if sys._getframe(1).f_code.co_name != POPS:  # noqa: SLF001
                raise
            return envelope.Unread(item, error)

    return loads


def _deliverer(stock: Callable[[Any, Any, str], Any]) -> Callable[[Any, Any, str], Any]:
    """The way of an item to its consumer, after a look at it; for each task, so in one step."""

    def deliver(transport: Any, message: Any, queue: str) -> Any:
        if not envelope.is_usual(message):
            message = envelope.admit(message, queue)
        popping.queue = queue
        try:
            return stock(transport, message, queue)
        except ValueError:
            # A body that is not base64 is found by decoding it, which kombu does first of all.
            admitted = envelope.admit(message, queue)
            if admitted is message:
                raise
            return stock(transport, admitted, queue)
        finally:
            popping.queue = ""

    return deliver


def _on_decode_error(wrapped: Any, consumer: Any, args: Any, kwargs: Any) -> Any:
    message, error = args
    return _told(consumer, message, error, lambda: wrapped(*args, **kwargs))


def _on_unknown_message(wrapped: Any, consumer: Any, args: Any, kwargs: Any) -> Any:
    return _told(consumer, args[1], None, lambda: wrapped(*args, **kwargs))


def _on_invalid_task(wrapped: Any, consumer: Any, args: Any, kwargs: Any) -> Any:
    return _told(consumer, args[1], args[2], lambda: wrapped(*args, **kwargs))


def _create_task_handler(wrapped: Any, consumer: Any, args: Any, kwargs: Any) -> Any:
    handler = wrapped(*args, **kwargs)

    def on_task_received(message: Any) -> Any:
        message.followthrough_received = time.time()
        try:
            return handler(message)
        except NONSENSE as error:
            # Raised on, it would end the worker, and the next one that gets the message.
            if message.acknowledged or _tell(consumer, message, error) is None:
                raise
            message.reject_log_error(logger, consumer.connection_errors)

    return on_task_received


def _told(consumer: Any, message: Any, error: Any, go_on: Callable[[], Any]) -> Any:
    _State.is_told = _tell(consumer, message, error) is not None
    try:
        return go_on()
    finally:
        _State.is_told = False


def _is_news(_record: logging.LogRecord) -> bool:
    return not _State.is_told


@guarded("celery.quarantine")
def _tell(consumer: Any, message: Any, error: BaseException | None) -> bool:
    """Put a message aside and tell so; None where that went wrong."""
    headers = aside.headers(message)
    if why := envelope.reason(headers):
        error = DecodeError(why)
    aside.put(message, error or InvalidTaskError("its headers name no task"), consumer.app)
    return True
