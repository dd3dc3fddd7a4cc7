"""A queue's bell: a stream of one entry, rung by whoever puts a message into the queue.

A worker waits for the bells of all its queues at once, and takes nothing by that. Where a bell
stands is the id of its last entry, so one that rang before the worker waits is heard too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Seconds a bell is kept after it was rung; the queue of a single reply has one too.
LIFE = 60

Command = tuple[Any, ...]


def name(queue: str) -> str:
    """The key of a queue's bell, without the prefix of all keys."""
    return f"{queue}.bell"


def ring(bell: str) -> list[Command]:
    """The methods of a Redis client, and their arguments, that ring a bell."""
    return [("xadd", bell, {"new": 1}, "*", 1, False), ("expire", bell, LIFE)]


def wait(bells: Sequence[str], stood: Mapping[str, str], seconds: float) -> list[Command]:
    """The command that waits until one of the bells rings; none if it isn't known where one stood.

    It reads, so Redis runs it also while it is full.
    """
    if not stood.keys() >= set(bells):
        return []
    # None at all would be for ever.
    milliseconds = max(int(seconds * 1000), 1)
    since = (stood[bell] for bell in bells)
    return [("XREAD", "BLOCK", milliseconds, "STREAMS", *bells, *since)]
