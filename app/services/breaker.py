"""Fails at once, while a service is known to be down, what would only wait for its time-out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between two tries of a service that is down


class UnreachableError(Exception):
    """A service that the answer needs is down; `retry_after` is in seconds."""

    retry_after = 2


class Breaker:
    """Lets all calls through until one fails, then one a second until one succeeds.

    Without it each thread of the web process would wait for its own time-out, and the requests
    behind them for several.
    """

    def __init__(
        self,
        name: str,
        errors: tuple[type[Exception], ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._errors = errors
        self._clock = clock
        self._lock = Lock()
        self._next_try: float | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Run the body; raises UnreachableError if it fails or isn't worth trying."""
        self._enter()
        try:
            yield
        except self._errors as error:
            if self._next_try is None:
                logger.warning("the %s does not answer: %s", self.name, error)
            self._next_try = self._clock() + PAUSE
            raise UnreachableError(f"The {self.name} does not answer.") from error
        if self._next_try is not None:
            logger.warning("the %s answers again", self.name)
        self._next_try = None

    def _enter(self) -> None:
        with self._lock:
            if self._next_try is None:
                return
            if self._clock() < self._next_try:
                raise UnreachableError(f"The {self.name} does not answer.")
            # This call is the one that tries; the others go on failing until it is through.
            self._next_try = self._clock() + PAUSE
