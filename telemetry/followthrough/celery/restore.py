"""Gives back to their queues what a killed worker held: for the agent, through kombu's own parts.

kombu's Redis would do so after its visibility timeout. It keeps a message under its tag, so whoever
takes it next has it under the same one: only what nobody has taken since is given back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis.exceptions import RedisError

from ..recorder.held import Entry

FAILURES = (KombuError, OSError, RedisError)
SECONDS = 5.0  # for the broker to answer
_PATIENCE = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS, "max_retries": 0}

# Takes the message as the queue had it, and says whether it was kept.
Keep = Callable[[Entry, bytes], bool]


def give_back(
    broker: dict[str, Any], entries: Iterable[Entry], keep: Keep | None = None
) -> Iterator[Entry]:
    """Put messages back, each as the next of its queue; yields those that were still held.

    With `keep` they are taken out instead. Raises one of FAILURES where the broker can't be asked.
    """
    with _channel(broker) as channel, channel.conn_or_acquire() as client:
        for entry in entries:
            if _settle(channel, client, entry, keep):
                yield entry


@contextmanager
def _channel(broker: dict[str, Any]) -> Iterator[Any]:
    options = {**(broker.get("options") or {}), **_PATIENCE}
    with Connection(broker["url"], ssl=broker.get("ssl"), transport_options=options) as connection:
        yield connection.channel()


def _settle(channel: Any, client: Any, entry: Entry, keep: Keep | None) -> bool:
    qos = channel.qos
    done: list[Entry] = []

    def transaction(pipe: Any) -> None:
        done.clear()
        note = pipe.hget(qos.unacked_key, entry.tag)
        taken = pipe.zscore(_named(channel, pipe, qos.unacked_index_key), entry.tag)
        pipe.multi()
        if note is None or taken is None or taken > entry.taken:
            return
        message, *place = loads(bytes_to_str(note))
        if keep is None:
            # kombu would ask which queues are bound; the one that it came from is known.
            channel._lookup = lambda *_: [entry.queue]  # noqa: SLF001
            channel._do_restore_message(message, *place, pipe)  # noqa: SLF001
        elif not keep(entry, json.dumps(message).encode()):
            return
        qos._remove_from_indices(entry.tag, pipe)  # noqa: SLF001
        done.append(entry)

    client.transaction(transaction, qos.unacked_key, qos.unacked_index_key)
    return bool(done)


def _named(channel: Any, pipe: Any, key: str) -> str:
    # kombu puts its prefix before the keys of those commands only that it uses itself.
    if "ZSCORE" in getattr(pipe, "PREFIXED_SIMPLE_COMMANDS", ()):
        return key
    return f"{channel.global_keyprefix}{key}"
