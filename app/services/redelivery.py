"""Redis as a broker that may go away, at any moment, while a worker takes and holds messages.

kombu pops a message and then notes it as unacknowledged: if Redis stops in between, it is lost. And
what a worker can't acknowledge or give back then is redelivered hours later. Here a message is
taken and noted in one step, under a tag that the worker chose before; what could not be settled is
remembered, and settled as soon as the worker consumes again. A task that runs meanwhile goes on.
"""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty
from types import MappingProxyType, SimpleNamespace
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, _transport_cache, redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import ResponseError

from app.services import bells, scripts
from followthrough.celery import envelope

# Seconds after which a stopped Redis has either run a request it had received, or never will.
DOUBT = 60.0
# Seconds for which a Redis that failed to settle is left alone, unless it is connected to anew.
PAUSE = 5.0


class _Held:
    """What this process took and could not settle with Redis, by delivery tag."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.unstarted: set[str] = set()
        self.requeued: set[str] = set()
        # Asked for without an answer; until when Redis may still take a message under it.
        self.doubtful: dict[str, float] = {}
        self.consuming: QoS | None = None
        self.next_try = 0.0

    def doubt(self, tag: str | None) -> None:
        if tag is not None:
            self.doubtful[tag] = time.monotonic() + DOUBT


_held = _Held()


class QoS(redis.QoS):
    """kombu's record of what a channel has delivered, which outlives its connection."""

    def append(self, message: Any, delivery_tag: str) -> None:
        if envelope.reason(message.headers) is None:
            # Redis has noted it already.
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        self._done(delivery_tag, _held.ended)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self._done(delivery_tag, _held.requeued if requeue else _held.ended)

    def restore_unacked(self, client: Any = None) -> None:  # noqa: ARG002
        """As the channel closes, give back what nobody works on; the rest is settled at its end."""
        self._flush()
        running = set() if _is_stopping() else _running_tags()
        _held.unstarted |= set(self._delivered) - running
        self._delivered.clear()
        self.try_to_settle()

    def settle(self) -> None:
        """Tell Redis what could not be told before; raises what the connection raises."""
        for tag in tuple(_held.ended):
            self._remove_from_indices(tag).execute()
            _held.ended.discard(tag)
        for tag in tuple(_held.unstarted):
            self.restore_by_tag(tag)
            _held.unstarted.discard(tag)
        for tag in tuple(_held.requeued):
            # To the end of the queue, so that the others have their turn first.
            self.restore_by_tag(tag, leftmost=True)
            _held.requeued.discard(tag)
        for tag, until in tuple(_held.doubtful.items()):
            self.restore_by_tag(tag)
            if until < time.monotonic():
                del _held.doubtful[tag]

    def try_to_settle(self) -> None:
        """Settle if Redis can be reached; a closed channel can't, the one that consumes now can."""
        qos = self if self.channel.connection is not None else _held.consuming
        if qos is None or qos.channel.connection is None:
            return
        if time.monotonic() < _held.next_try:
            return
        try:
            qos.settle()
        except (*qos.channel.connection_errors, ResponseError):
            _held.next_try = time.monotonic() + PAUSE

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put what is noted under a tag back into its queue, as the next or, leftmost, the last."""
        pushed: list[tuple[str, str]] = []
        pipe = SimpleNamespace(lpush=_adder(pushed), rpush=_adder(pushed))
        with self.channel.conn_or_acquire(client) as server:
            if not (note := server.hget(self.unacked_key, tag)):
                return
            self.channel._do_restore_message(*loads(bytes_to_str(note)), pipe, leftmost)  # noqa: SLF001
            names = [self.unacked_index_key, self.unacked_key]
            for name, _ in pushed:
                names += [name, self.channel.bell(name)]
            keys = self.channel.keys(names)
            for _, message in pushed[:1]:
                side = "LPUSH" if leftmost else "RPUSH"
                server.eval(scripts.GIVE_BACK, len(keys), *keys, tag, side, message, bells.LIFE)

    def _done(self, tag: str, kind: set[str]) -> None:
        kind.add(tag)
        virtual.QoS.ack(self, tag)
        self.try_to_settle()


class Channel(redis.Channel):
    QoS = QoS
    _asked: str | None = None
    _bells: Sequence[str] = ()
    # Where these bells stood as all queues were empty; nothing after a message.
    _stood: Mapping[str, str] = MappingProxyType({})
    _waits = False
    _in_poll: Any
    _brpop_sent_at: Any
    _kept: Any = None

    def basic_consume(self, *args: Any, **kwargs: Any) -> Any:
        self.qos.settle()
        _held.next_try = 0.0
        _held.consuming = self.qos
        return super().basic_consume(*args, **kwargs)

    def _create_client(self, asynchronous: bool = False) -> Any:
        """As kombu's, which makes one for each message: that costs more than sending it."""
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept

    def bell(self, name: str) -> str:
        """The name of a queue's bell; each of its lists, one a priority, has the same."""
        return bells.name(name.split(self.sep, 1)[0])

    def keys(self, names: Iterable[str]) -> list[str]:
        return [f"{self.global_keyprefix}{name}" for name in names]

    def _put(self, queue: str, message: Any, _publish_batch: Any = None, **options: Any) -> None:
        """Deliver a message and ring its queue's bell, in one round trip."""
        commands: list[tuple[Any, ...]] = []
        kept = SimpleNamespace(add=lambda *command: commands.append(command))
        super()._put(queue, message, _publish_batch=kept, **options)
        commands += bells.ring(*self.keys([self.bell(queue)]))
        if _publish_batch is None:
            self._send(commands)
        for command in commands if _publish_batch else ():
            _publish_batch.add(*command)

    def _send(self, commands: list[tuple[Any, ...]]) -> None:
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            for name, *arguments in commands:
                getattr(pipe, name)(*arguments)
            pushed, *_ = pipe.execute(raise_on_error=False)
        # A message that was taken is not to be sent again because its bell could not ring.
        if isinstance(pushed, Exception):
            raise pushed

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        _held.doubt(self._asked)
        self._asked = str(uuid.uuid4())
        connection = self._in_poll = self.client.connection
        self._brpop_sent_at = time.monotonic()
        self._bells = self.keys(map(self.bell, queues))
        wait = bells.wait(self._bells, self._stood, timeout or self.brpop_timeout)
        self._stood = {}
        self._waits = bool(wait)
        commands = [*wait, self._take(queues)]
        connection.send_packed_command(connection.pack_commands(commands))

    def _take(self, queues: list[str]) -> tuple[Any, ...]:
        lists = [self._q_for_pri(queue, pri) for pri in self.priority_steps for queue in queues]
        keys = self.keys([*lists, self.unacked_index_key, self.unacked_key])
        keys += self._bells
        return ("EVAL", scripts.TAKE, len(keys), *keys, self._asked, time.time(), len(lists))

    def _brpop_read(self, **_options: Any) -> bool:
        try:
            found = self._answer()
            tag, self._asked = self._asked, None
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        place, content = found
        if place is None:
            self._stood = dict(zip(self._bells, map(bytes_to_str, content), strict=True))
            self.qos.try_to_settle()
            raise Empty
        key = bytes_to_str(place).removeprefix(self.global_keyprefix)
        queue = key.rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        payload = envelope.admit(envelope.read(content, loads), queue)
        payload["properties"]["delivery_tag"] = tag
        self.connection._deliver(payload, queue)  # noqa: SLF001
        return True

    def _answer(self) -> Any:
        connection = self.client.connection
        try:
            if self._waits:
                # Which bell rang, if any, makes no difference: all queues are looked at.
                connection.read_response()
            return self.client.parse_response(connection, "EVAL")
        except (*self.connection_errors, ResponseError):
            # So that no answer is left that the next question would take for its own.
            connection.disconnect()
            raise

    def close(self) -> None:
        """Close; what has arrived and what is held is kept, whatever fails on the way."""
        with contextlib.suppress(Empty, ResponseError, *self.connection_errors):
            if self._in_poll:
                self._brpop_read()
        _held.doubt(self._asked)
        self._asked = None
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
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
        # kombu remembers what it found before.
        _transport_cache.pop(scheme, None)


def _adder(pushed: list[tuple[str, str]]) -> Callable[[str, str], None]:
    return lambda name, message: pushed.append((name, message))


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
