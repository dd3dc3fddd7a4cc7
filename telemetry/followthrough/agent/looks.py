"""What the agent looks for again and again, in one thread, as each one more would wake it more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger("followthrough.agent")

EVERY = 0.5  # seconds between two looks
AGAIN_SECONDS = 5.0  # before what has failed is looked for again


@dataclass
class Look:
    """Something to look for, `every` so many seconds; it may not wait for anybody."""

    name: str
    look: Callable[[], object]
    every: float = EVERY
    due: float = 0.0


class Looks:
    """Looks for all of them; one that fails keeps none of the others from it."""

    def __init__(self, *looks: Look) -> None:
        self._looks = looks

    def run(self, stop: threading.Event) -> None:
        """Look until `stop`."""
        while not stop.wait(EVERY):
            now = time.monotonic()
            for each in self._looks:
                if each.due <= now:
                    _look(each, now)


def _look(each: Look, now: float) -> None:
    # Less than a turn early rather than a turn late.
    each.due = now + each.every - EVERY / 2
    try:
        each.look()
    except Exception as error:
        each.due = now + AGAIN_SECONDS
        log.exception("agent.part_failed", part=each.name, error_type=type(error).__name__)
