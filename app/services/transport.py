"""Kombu's Redis transport, made to keep what a worker holds when its connection breaks.

Redis has no acknowledgements of its own: kombu lists a message that a worker took as unacknowledged
and gives it back when the visibility timeout (hours) has passed. When Redis restarts, stock workers
forget what they held but had not begun, so those tasks wait for hours; an acknowledgement that
fails then makes a finished task run again. Here the worker remembers both and settles them as soon
as it is connected again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis


@dataclass
class Unsettled:
    """What this process could not tell Redis, by delivery tag."""

    # Ended tasks whose message is still listed as unacknowledged.
    ended: set[str] = field(default_factory=set)
    # Messages to give back; with their content where Redis may not have it any more.
    held: dict[str, tuple[Any, str, str] | None] = field(default_factory=dict)


_unsettled = Unsettled()


class QoS(redis.QoS):
    def append(self, message: Any, delivery_tag: str) -> None:
        try:
            super().append(message, delivery_tag)
        except self.channel.connection_errors:
            # Taken from its queue, not yet listed as unacknowledged: only this process has it.
            info = message.delivery_info
            content = (message._raw, info["exchange"], info["routing_key"])  # noqa: SLF001
            _unsettled.held[delivery_tag] = content
            raise

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            _unsettled.ended.add(delivery_tag)
            raise

    def restore_unacked(self, client: Any = None) -> None:
        """Give back what was taken, except what runs on: that is acknowledged at its end."""
        keep = _running_tags()
        _unsettled.held |= {tag: None for tag in self._delivered if tag not in keep}
        self._delivered.clear()
        try:
            self.settle(client)
        except self.channel.connection_errors:
            return  # the next channel does it

    def settle(self, client: Any = None) -> None:
        """Tell Redis what could not be told before."""
        with self.channel.conn_or_acquire(client) as connected:
            for tag in tuple(_unsettled.ended):
                self._remove_from_indices(tag).execute()
                _unsettled.held.pop(tag, None)
                _unsettled.ended.discard(tag)
            for tag, content in tuple(_unsettled.held.items()):
                self._give_back(tag, content, connected)
                _unsettled.held.pop(tag, None)

    def _give_back(self, tag: str, content: tuple[Any, str, str] | None, client: Any) -> None:
        if content is None or client.hexists(self.unacked_key, tag):
            self.restore_by_tag(tag, client=client)
            return
        pipe = client.pipeline()
        self.channel._do_restore_message(*content, pipe)  # noqa: SLF001
        pipe.execute()


class Channel(redis.Channel):
    QoS = QoS

    def basic_consume(self, *args: Any, **kwargs: Any) -> Any:
        self.qos.settle()
        return super().basic_consume(*args, **kwargs)


class Transport(redis.Transport):
    Channel = Channel


def install() -> None:
    """Use this transport for redis:// and rediss:// addresses in this process."""
    name = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)


def _running_tags() -> set[str]:
    from celery.worker import state  # noqa: PLC0415  (only a worker gets here)

    if state.should_stop is not None or state.should_terminate is not None:
        return set()  # nothing runs on
    return {request.message.delivery_tag for request in tuple(state.active_requests)}
