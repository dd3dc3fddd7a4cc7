"""Ends the spans that killed processes have left under way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from .. import slots
from ..recorder import encode, inflight, record
from ..recorder.inflight import Cause, Left
from ..recorder.recorder import SUFFIX, Recorder, folder
from ..recorder.writer import Pending

log = structlog.get_logger("followthrough.agent")

EVERY = 0.5  # seconds between two looks
UNKNOWN = Cause("ProcessLost", "The process ended before the span did.")


class Finisher:
    """Looks for processes that are gone, and records the ends of their spans in its own ring."""

    def __init__(
        self, state_dir: Path, capacity: int, before: Callable[[], None] = lambda: None
    ) -> None:
        # Notes what others know of processes that are gone.
        self._before = before
        self._slots = state_dir / "slots"
        self._folder = folder(state_dir)
        self._recorder = Recorder(state_dir, capacity)

    def run(self, stop: threading.Event) -> None:
        """Look until `stop`."""
        while not stop.wait(EVERY):
            try:
                self.look()
            except OSError as error:
                log.warning("spans.not_finished", error=str(error))

    def look(self) -> None:
        """Take over what the dead have left, and end what has waited for its cause."""
        self._before()
        for path in self._folder.glob(f"*{inflight.SUFFIX}"):
            self._take_over(path)
        for path in self._folder.glob(f"*{inflight.LEFT}"):
            self._finish(path)

    def _take_over(self, path: Path) -> None:
        if path.stem == str(slots.held.mine(self._slots)):
            return
        # For an instant, and only where somebody died: who starts just then takes another slot.
        fd = None if slots.is_held(self._slots / path.stem) else slots.lock(self._slots / path.stem)
        if fd is None:
            return
        try:
            inflight.take_over(path, path.with_suffix(SUFFIX), time.time_ns())
        finally:
            os.close(fd)

    def _finish(self, path: Path) -> None:
        left = inflight.left(path)
        if left is not None:
            if left.cause is None and time.time_ns() - left.since < left.patience:
                return
            for each in filter(record.is_span, left.records):
                self._recorder.put(Pending(finished(each, left)))
        path.unlink(missing_ok=True)


def finished(begun: bytes, left: Left) -> bytes:
    """The record of a span that its process could not end."""
    cause = left.cause or UNKNOWN
    prefix, body = record.body(begun)
    return record.whole(prefix, encode.ended(body, left.since, cause.error_type, cause.message))
