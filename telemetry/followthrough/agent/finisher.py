"""Ends what killed processes have left under way, and tells it where nobody else could."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from .. import slots, tell
from ..outcome import Outcome
from ..recorder import encode, left, places, record
from ..recorder.left import Left
from ..recorder.pending import Pending
from ..recorder.places import LEFT, SPANS, UNDER_WAY, folder, slots_of
from ..recorder.recorder import Recorder
from ..recorder.shorten import is_run
from . import lost

log = structlog.get_logger("followthrough.agent")


class Finisher:
    """Looks for processes that are gone, and records the ends of their spans in its own ring."""

    def __init__(
        self, state_dir: Path, capacity: int, before: Callable[[], None] = lambda: None
    ) -> None:
        # Notes what others know of processes that are gone.
        self._before = before
        self._slots = slots_of(state_dir)
        self._folder = folder(state_dir)
        self._recorder = Recorder(state_dir, capacity)

    def look(self) -> None:
        """Take over what the dead have left, and end what has waited for its cause."""
        try:
            self._look()
        except OSError as error:
            log.warning("spans.not_finished", error=str(error))

    def _look(self) -> None:
        self._before()
        tables = places.found(self._folder, UNDER_WAY, LEFT)
        taken = [self._take_over(path) for path in tables if path.suffix == UNDER_WAY]
        if any(taken):
            tables = places.found(self._folder, LEFT)
        for path in tables:
            if path.suffix == LEFT:
                self._finish(path)

    def _take_over(self, path: Path) -> bool:
        if path.stem == str(slots.held.mine(self._slots)):
            return False
        # For an instant, and only where somebody died: who starts just then takes another slot.
        fd = None if slots.is_held(self._slots / path.stem) else slots.lock(self._slots / path.stem)
        if fd is None:
            return False
        try:
            left.take_over(path, path.with_suffix(SPANS), time.time_ns())
        finally:
            os.close(fd)
        return True

    def _finish(self, path: Path) -> None:
        found = left.read(path)
        if found is not None:
            if found.cause is None and time.time_ns() < found.until:
                return
            for number, begun in found.records.items():
                try:
                    self._end(begun, found)
                except Exception as error:  # noqa: BLE001  the others are to be told all the same
                    log.warning("span.not_finished", error=repr(error))
                # An agent that is killed in between tells this one again, and no other.
                left.told(path, number)
        path.unlink(missing_ok=True)

    def _end(self, begun: bytes, found: Left) -> None:
        outcome = lost.outcome(found.cause)
        at = (found.cause and found.cause.at) or found.since
        if record.is_span(begun):
            self._recorder.put(Pending(finished(begun, at, outcome)))
        if found.cause is None:
            # Whoever noted a cause has told the rest.
            lost.tell(begun, outcome, at)


def finished(begun: bytes, end: int, outcome: Outcome) -> bytes:
    """The record of a span that its process could not end."""
    prefix, body = record.body(begun)
    reason = tell.REASONS.get(outcome.kind, "") if is_run(begun) else ""
    return prefix + encode.ended(body, end, outcome, reason)
