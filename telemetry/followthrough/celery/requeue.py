"""Sends a message out of quarantine to its queue again, as it was."""

from __future__ import annotations

import base64
import json
from typing import Any

from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from ..quarantine import Item, QuarantineError
from ..settings import without_password

SECONDS = 5.0  # for the broker to answer
_KEPT = ("priority", "correlation_id", "reply_to")


def send(item: Item, url: str) -> None:
    """Put an item into its queue; raises QuarantineError where that can't be done."""
    options = {"global_keyprefix": item.prefix} if item.prefix else {}
    with Connection(url, connect_timeout=SECONDS, transport_options=options) as connection:
        failures = (*connection.connection_errors, *connection.channel_errors)
        try:
            connection.ensure_connection(max_retries=1, timeout=SECONDS)
            _send(connection.channel(), item)
        except (KombuError, OSError, KeyError, ValueError, *failures) as error:
            where = without_password(url)
            raise QuarantineError(f"{item.id} can't be sent to {where}: {error}") from None


def _send(channel: Any, item: Item) -> None:
    if item.raw:
        _push(channel, item)
        return
    message = json.loads(item.payload)
    if hasattr(channel, "_put"):
        # One of kombu's own transports, Redis among them, whose message it is to the letter.
        channel._put(item.queue, message)  # noqa: SLF001
    else:
        _publish(channel, item.queue, message)


def _push(channel: Any, item: Item) -> None:
    if not hasattr(channel, "unacked_key"):
        raise QuarantineError(f"{item.id} is an item of a Redis list, and this broker has none")
    with channel.conn_or_acquire() as client:
        client.lpush(item.queue, item.payload)


def _publish(channel: Any, queue: str, message: dict[str, Any]) -> None:
    properties = message["properties"]
    Producer(channel).publish(
        base64.b64decode(message["body"]),
        exchange="",
        routing_key=queue,
        content_type=message["content-type"],
        content_encoding=message["content-encoding"],
        headers=message["headers"],
        **{key: properties[key] for key in _KEPT if key in properties},
    )
