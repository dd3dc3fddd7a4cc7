"""Notes what a worker has taken from Redis and not settled, for whoever finds it dead.

RabbitMQ gives back by itself what a dead worker held; kombu's Redis only after hours.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from kombu.transport import virtual
from opentelemetry.instrumentation.utils import unwrap
from wrapt import wrap_function_wrapper

from .. import metrics, setup, tracing
from ..guard import guarded
from ..recorder import held
from ..recorder.held import Entry, Table
from . import aside, critical, unreadable
from .current import current

if TYPE_CHECKING:
    from pathlib import Path

QOS = "kombu.transport.virtual"


class _State:
    app: Any = None
    table: Table | None = None
    # What counts the messages of each channel that consumes here.
    known: WeakSet[Any] = WeakSet()  # noqa: RUF012  one for the process
    is_wrapped = False
    is_off = False


def connect(app: Any) -> None:
    """Note from now on what the worker of this app takes."""
    _State.app, _State.is_off = app, False
    if not _State.is_wrapped:
        wrap_function_wrapper(QOS, "QoS.append", _append)
        wrap_function_wrapper(QOS, "QoS.ack", _ack)
        _State.is_wrapped = True


def disconnect() -> None:
    """Undo `connect`."""
    if _State.is_wrapped:
        unwrap(virtual.QoS, "append")
        unwrap(virtual.QoS, "ack")
        _State.is_wrapped = False
    close()


def close() -> None:
    """Note no more, as the worker ends in order: kombu gives back what it held."""
    table, _State.table, _State.is_off = _State.table, None, True
    _State.known.clear()
    if table is not None and table.pid == os.getpid():
        table.close()


def runs(request: Any) -> None:
    """Note that a process has begun to run a task."""
    if _State.table is not None:
        # Pools of greenlets give something else for a pid.
        pid = request.worker_pid if current.pool == "prefork" else os.getpid()
        _State.table.runs(request.message.delivery_tag, pid or 0)


def stopped(request: Any) -> None:
    """Note that no process runs a task any more."""
    if _State.table is not None:
        _State.table.runs(request.message.delivery_tag, 0)


def _append(wrapped: Any, qos: Any, args: Any, kwargs: Any) -> Any:
    result = wrapped(*args, **kwargs)
    _note(qos, *args, **kwargs)
    return result


def _ack(wrapped: Any, _qos: Any, args: Any, kwargs: Any) -> Any:
    # Each way to settle a message ends here, once the broker knows of it.
    result = wrapped(*args, **kwargs)
    _forget(*args, **kwargs)
    return result


@guarded("celery.held")
def _note(qos: Any, message: Any, delivery_tag: str) -> None:
    if qos not in _State.known:
        _begin(qos)
    table = _State.table
    if table is None or table.pid != os.getpid():
        return
    headers = message.headers
    task = headers.get("task") or ""
    entry = Entry(
        tag=delivery_tag,
        queue=unreadable.popped_from() or aside.queue_of(message),
        task_id=str(headers.get("id") or ""),
        task=task,
        traceparent=str(headers.get("traceparent") or ""),
        taken=time.time(),
        critical=critical.is_critical(task, _State.app.tasks.get(task)),
    )
    if not table.add(entry):
        metrics.count_not_held()


@guarded("celery.held")
def _forget(delivery_tag: str) -> None:
    table = _State.table
    if table is not None and table.pid == os.getpid():
        table.remove(delivery_tag)


def _begin(qos: Any) -> None:
    """A channel begins to consume: the first one, one more, or one after a lost connection."""
    is_anew = all(each.channel.closed for each in _State.known)
    _State.known.add(qos)
    state_dir = aside.state_dir()
    if _State.table is not None:
        if is_anew:
            _State.table.forget_waiting()
    elif not _State.is_off and state_dir is not None and _is_redis(qos.channel):
        # Without room on the disk that is told once, and the visibility timeout holds.
        _State.is_off = True
        _State.table = _table(state_dir, qos.channel)
        tracing.need_agent()


def _table(state_dir: Path, channel: Any) -> Table:
    client = channel.connection.client
    broker = {
        "url": client.as_uri(include_password=True),
        "ssl": _plain(client.ssl),
        "options": _plain(client.transport_options),
        "service": setup.service(),
    }
    table = Table(state_dir, broker)
    held.prune(state_dir)
    return table


def _plain(value: Any) -> Any:
    """What of the settings another process can be told."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items() if _is_plain(each)}
    return value if _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_redis(channel: Any) -> bool:
    return hasattr(channel, "unacked_key") and hasattr(channel, "unacked_index_key")
