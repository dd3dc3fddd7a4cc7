"""Takes what processes left in their event rings to the disk, before anything is done with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from ..alerts import spool
from ..alerts.alert import from_json
from ..alerts.keep import ALERT
from ..recorder import ring
from ..recorder.places import EVENTS, folder, found

log = structlog.get_logger("followthrough.agent")

TROUBLE_EVERY = 30.0  # seconds between two tries where the disk takes nothing


class Events:
    """Moves alerts from the rings below `state_dir` into the spool.

    A ring's reader moves on when the spool has the alert, so a kill in between repeats it, under
    the same name. What the spool has no room for stays in its ring.
    """

    def __init__(self, state_dir: Path, is_ours: Callable[[], bool] = lambda: True) -> None:
        self._state_dir = state_dir
        self._is_ours = is_ours
        self._not_before = 0.0

    def look(self) -> None:
        """Take all that waits."""
        if time.monotonic() < self._not_before:
            return
        try:
            for path in found(folder(self._state_dir), EVENTS):
                if ring.is_waiting(path):
                    self._take(path)
        except OSError as error:
            self._not_before = time.monotonic() + TROUBLE_EVERY
            log.error("events.not_kept", reason=str(error))  # noqa: TRY400  the reason says it

    def _take(self, path: Path) -> None:
        with ring.opened(path) as fd:
            while fd is not None and not ring.is_empty(fd) and self._is_ours():
                batch = ring.read(fd, 1)
                bad = [each for each in batch.payloads if not _is_event(each)]
                if not all(self._keep(each) for each in batch.payloads if each not in bad):
                    return
                good = len(batch.payloads) - len(bad)
                ring.settle(fd, batch, exported=good, rejected=len(bad))

    def _keep(self, payload: bytes) -> bool:
        return spool.write(self._state_dir, from_json(payload[len(ALERT) :]))


def _is_event(payload: bytes) -> bool:
    try:
        return payload.startswith(ALERT) and bool(from_json(payload[len(ALERT) :]))
    except ValueError:
        log.warning("events.unreadable", size=len(payload))
        return False
