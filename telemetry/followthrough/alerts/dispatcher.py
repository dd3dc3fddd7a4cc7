"""The dispatcher: takes alerts from the spool to every notifier, at least once each.

Each notifier has a lane of its own, so a dead one holds up no other. A kill at any moment repeats
at most the alert that each lane had in flight, with the same id.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from .alert import Alert, from_json
from .notifiers import Notifier, Refused, Retry
from .progress import Progress

POLL = 0.5
# A look at thousands of alerts takes long; resting as many times as long keeps it at 2 % of a core.
REST = 50.0
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
LONGEST_ASKED_WAIT = 3600.0
TROUBLE_WAIT = 30.0
PRUNE_EVERY = 3600.0
JOIN = 1.0

log = structlog.get_logger("followthrough.alerts")


class Dispatcher:
    """Delivers what the spool under `state_dir` holds; one dispatcher a state directory.

    `clock` gives monotonic seconds, `jitter` a number from 0 to 1.
    """

    def __init__(
        self,
        state_dir: Path,
        notifiers: Sequence[Notifier],
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._progress = Progress(state_dir, [notifier.name for notifier in notifiers])
        self._lanes = [Lane(notifier, self._progress, clock, jitter) for notifier in notifiers]

    def step(self, now: float) -> float:
        """Let each notifier try one alert; the seconds until another step has something to do."""
        return min((lane.step(now) for lane in self._lanes), default=POLL)

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; returns at most a second later, whatever hangs."""
        threads = [
            threading.Thread(target=self._serve, args=(lane, stop), daemon=True)
            for lane in self._lanes
        ]
        for thread in threads:
            thread.start()
        while not stop.is_set():
            stop.wait(_safely(self._prune))
        end = time.monotonic() + JOIN
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _serve(self, lane: Lane, stop: threading.Event) -> None:
        while not stop.is_set():
            stop.wait(_safely(lambda: lane.step(self._clock())))

    def _prune(self) -> float:
        self._progress.prune()
        return PRUNE_EVERY


def _safely(work: Callable[[], float]) -> float:
    try:
        return work()
    except Exception as error:
        # A full disk, say, must not end the delivery for good.
        log.exception("alert.dispatcher_failed", error_type=type(error).__name__)
        return TROUBLE_WAIT


class Lane:
    """One notifier and its alerts; after a failure all of them wait, and the next one is tried."""

    def __init__(
        self,
        notifier: Notifier,
        progress: Progress,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.name = notifier.name
        self._notifier = notifier
        self._progress = progress
        self._clock = clock
        self._jitter = jitter
        self._queue: deque[Path] = deque()
        self._failures = 0
        self._not_before = float("-inf")

    def step(self, now: float) -> float:
        """Try one alert if the time has come; the seconds to wait before the next step."""
        if now < self._not_before:
            return self._not_before - now
        rest = 0.0 if self._queue else self._look()
        if not self._queue:
            return rest
        self._deliver(self._queue.popleft(), now)
        return max(0.0, self._not_before - now)

    def _look(self) -> float:
        start = self._clock()
        self._queue.extend(self._progress.waiting_for(self.name))
        return max(POLL, REST * (self._clock() - start))

    def _deliver(self, path: Path, now: float) -> None:
        alert = self._read(path)
        if alert is None:
            return
        failure = self._attempt(alert)
        if isinstance(failure, Retry):
            self._postpone(alert, failure, now)
            return
        self._failures = 0
        self._tell(alert, failure)
        self._progress.settle(path, self.name, "refused" if failure else "took")

    def _read(self, path: Path) -> Alert | None:
        try:
            return from_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.error("alert.unreadable", file=path.name, reason=str(error))  # noqa: TRY400
            self._progress.fail(path)
            return None

    def _attempt(self, alert: Alert) -> Retry | Refused | None:
        try:
            self._notifier.notify(alert)
        except (Retry, Refused) as failure:
            return failure
        except Exception as error:  # noqa: BLE001  its text may hold a secret of the notifier
            return Retry(type(error).__name__)
        return None

    def _postpone(self, alert: Alert, failure: Retry, now: float) -> None:
        wait = self._wait(failure.after)
        self._failures += 1
        self._not_before = now + wait
        log.warning("alert.retried", **self._about(alert), reason=str(failure), wait=round(wait, 1))

    def _wait(self, asked: float | None) -> float:
        # Half of the wait is jitter, so that hosts that failed together don't return together.
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures, 30))
        own = longest * (0.5 + 0.5 * self._jitter())
        return max(own, min(asked or 0.0, LONGEST_ASKED_WAIT))

    def _tell(self, alert: Alert, failure: Refused | None) -> None:
        if failure:
            log.error("alert.refused", **self._about(alert), reason=str(failure))
        else:
            log.info("alert.delivered", **self._about(alert))

    def _about(self, alert: Alert) -> dict[str, str]:
        return {"notifier": self.name, "alert_id": alert.id, "task": alert.task}
