"""Redis as a broker that may go away while a worker holds messages.

kombu leaves what it can't give back or acknowledge at that moment in Redis's list of unacknowledged
messages, until the visibility timeout hours later; what Redis was just handing over is lost. Here
the process remembers all of it, and settles it as soon as it consumes again. A task that runs
meanwhile goes on, and is acknowledged when it has ended.
"""

from __future__ import annotations

import contextlib
import sys
from queue import Empty
from typing import Any, NamedTuple

from kombu.transport import TRANSPORT_ALIASES, redis, virtual


class _Message(NamedTuple):
    payload: Any
    exchange: str
    routing_key: str
    # Whether Redis had it among the unacknowledged; one that it hadn't is only here.
    noted: bool


class _Held:
    """What this process took and could not settle with Redis, by delivery tag."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.unstarted: dict[str, _Message] = {}
        self.consuming: QoS | None = None


_held = _Held()


class QoS(redis.QoS):
    """kombu's record of what a channel has delivered, which outlives its connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._running: dict[str, Any] = {}

    def append(self, message: Any, delivery_tag: str) -> None:
        try:
            super().append(message, delivery_tag)
        except self.channel.connection_errors:
            # It has left the queue already: nobody else has it.
            _held.unstarted[delivery_tag] = _message(message, noted=False)
            raise

    def ack(self, delivery_tag: str) -> None:
        _held.ended.add(delivery_tag)
        self._done(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        message = self._delivered.get(delivery_tag) or self._running.get(delivery_tag)
        if requeue and message is not None:
            _held.unstarted[delivery_tag] = _message(message, noted=True)
        else:
            _held.ended.add(delivery_tag)
        self._done(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:  # noqa: ARG002
        """As the channel closes, give back what nobody works on; the rest is settled at its end."""
        self._flush()
        running = set() if _is_stopping() else _running_tags()
        for tag, message in self._delivered.items():
            if tag in running:
                self._running[tag] = message
            else:
                _held.unstarted[tag] = _message(message, noted=True)
        self._delivered.clear()
        self._try_to_settle()

    def settle(self) -> None:
        """Tell Redis what could not be told before; raises what the connection raises."""
        for tag in tuple(_held.ended):
            self._remove_from_indices(tag).execute()
            _held.ended.discard(tag)
        for tag, message in tuple(_held.unstarted.items()):
            self._put_back(tag, message)
            _held.unstarted.pop(tag, None)

    def _done(self, tag: str) -> None:
        self._running.pop(tag, None)
        virtual.QoS.ack(self, tag)
        self._try_to_settle()

    def _try_to_settle(self) -> None:
        # A closed channel can't reach Redis any more; the one that consumes now can.
        qos = self if self.channel.connection is not None else _held.consuming
        if qos is None or qos.channel.connection is None:
            return
        with contextlib.suppress(*qos.channel.connection_errors):
            qos.settle()

    def _put_back(self, tag: str, message: _Message) -> None:
        def change(pipe: Any) -> None:
            noted = pipe.hget(self.unacked_key, tag)
            pipe.multi()
            self._remove_from_indices(tag, pipe)
            # One that Redis had and has no more was redelivered by another worker.
            if noted or not message.noted:
                self.channel._do_restore_message(*message[:3], pipe)  # noqa: SLF001

        with self.channel.conn_or_acquire() as client:
            client.transaction(change, self.unacked_key)


class Channel(redis.Channel):
    QoS = QoS

    def basic_consume(self, *args: Any, **kwargs: Any) -> Any:
        self.qos.settle()
        _held.consuming = self.qos
        return super().basic_consume(*args, **kwargs)

    def close(self) -> None:
        """Close; what has arrived and what is held is kept, whatever fails on the way."""
        with contextlib.suppress(Empty, *self.connection_errors):
            if self._in_poll:
                self._brpop_read()
        try:
            super().close()
        except self.connection_errors:
            if self._qos is not None:
                self._qos.restore_unacked_once()
            raise


class Transport(redis.Transport):
    Channel = Channel


def install() -> None:
    """Use this transport for redis:// and rediss:// addresses in this process."""
    name = f"{__name__}:Transport"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)


def _message(message: Any, *, noted: bool) -> _Message:
    delivery = message.delivery_info
    return _Message(message._raw, delivery["exchange"], delivery["routing_key"], noted)  # noqa: SLF001


def _is_stopping() -> bool:
    worker = _worker_state()
    # An exit code, which may be 0, stands for a stop.
    flags = (worker.should_stop, worker.should_terminate) if worker else ()
    return any(flag is not None and flag is not False for flag in flags)


def _running_tags() -> set[str]:
    worker = _worker_state()
    requests = tuple(worker.active_requests) if worker else ()
    return {request.message.delivery_tag for request in requests}


def _worker_state() -> Any:
    # Not imported: a web process uses this transport too, and needs none of the worker.
    return sys.modules.get("celery.worker.state")
