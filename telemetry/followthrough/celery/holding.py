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

from .. import metrics, setup, tracing
from ..guard import caught
from ..recorder import held
from ..recorder.held import Table
from . import aside, critical, replaced, unreadable
from .current import current

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class _State:
    app: Any = None
    table: Table | None = None
    # What counts the messages of each channel that consumes here, and the one that did so last.
    known: WeakSet[Any] = WeakSet()  # noqa: RUF012  one for the process
    last: Any = None
    # Whether tasks are critical, by their names.
    critical: dict[str, bool] = {}  # noqa: RUF012  one for the process
    undo: list[Callable[[], None]] = []  # noqa: RUF012  one for the process
    is_off = False
    is_forgotten_at_fork = False


def connect(app: Any) -> None:
    """Note from now on what the worker of this app takes."""
    _State.app, _State.is_off = app, False
    _State.critical.clear()
    if not _State.is_forgotten_at_fork:
        os.register_at_fork(after_in_child=_forget)
        _State.is_forgotten_at_fork = True
    if not _State.undo:
        _State.undo.append(replaced.method(virtual.QoS, "append", _appender))
        _State.undo.append(replaced.method(virtual.QoS, "ack", _acker))


def disconnect() -> None:
    """Undo `connect`."""
    while _State.undo:
        _State.undo.pop()()
    close()


def close() -> None:
    """Note no more, as the worker ends in order: kombu gives back what it held."""
    table, _State.table, _State.is_off = _State.table, None, True
    _State.known.clear()
    _State.last = None
    if table is not None and table.pid == os.getpid():
        table.close()


def _forget() -> None:
    """What a forked child takes itself, it doesn't note as its parent's."""
    _State.table, _State.is_off = None, True


def runs(request: Any) -> None:
    """Note that a process has begun to run a task."""
    table = _State.table
    if table is not None:
        # Pools of greenlets give something else for a pid.
        pid = request.worker_pid if current.pool == "prefork" else os.getpid()
        table.runs(request.message.delivery_tag, pid or 0)


def stopped(request: Any) -> None:
    """Note that no process runs a task any more."""
    if _State.table is not None:
        _State.table.runs(request.message.delivery_tag, 0)


# For each task, so in one step each, without a decorator's call.


def _appender(stock: Callable[[Any, Any, str], None]) -> Callable[[Any, Any, str], None]:
    def append(qos: Any, message: Any, delivery_tag: str) -> None:
        stock(qos, message, delivery_tag)
        try:
            if qos is not _State.last:
                _begin(qos)
            table = _State.table
            if table is None:
                return
            get = message.headers.get
            task = get("task") or ""
            texts = (
                delivery_tag,
                unreadable.popping.queue or aside.queue_of(message),
                str(get("id") or ""),
                task,
                str(get("traceparent") or ""),
            )
            is_critical = _State.critical.get(task)
            if is_critical is None:
                is_critical = _is_critical(task)
            if not table.add(texts, time.time(), is_critical):
                metrics.count_not_held()
        except Exception as error:  # noqa: BLE001  raised on where it is to be
            caught("celery.held", error)

    return append


def _acker(stock: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    def ack(qos: Any, delivery_tag: str) -> None:
        # Each way to settle a message ends here, once the broker knows of it.
        stock(qos, delivery_tag)
        try:
            table = _State.table
            if table is not None:
                table.remove(delivery_tag)
        except Exception as error:  # noqa: BLE001  raised on where it is to be
            caught("celery.held", error)

    return ack


def _is_critical(name: str) -> bool:
    task = _State.app.tasks.get(name)
    found = critical.is_critical(name, task)
    if task is not None:
        # What others send may have any name.
        _State.critical[name] = found
    return found


def _begin(qos: Any) -> None:
    """A channel begins to consume: the first one, one more, or one after a lost connection."""
    _State.last = qos
    if qos in _State.known:
        return
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
