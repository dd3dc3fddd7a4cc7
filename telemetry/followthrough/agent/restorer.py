"""Has what killed workers held given back to its queue, at once, and tells so."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from .. import attempts, metrics, names, quarantine, tell
from ..outcome import Outcome
from ..recorder import held, inflight, left, places, record
from ..recorder.held import Entry, Found
from ..recorder.inflight import Cause
from ..settings import without_password

log = structlog.get_logger("followthrough.agent")

PAUSE = 5.0  # seconds before a broker that did not answer is asked again
LONGEST = 3600.0  # seconds for which it is asked; then the visibility timeout gives back
LINES = 1000  # a worker's messages that have a line of their own
CLAIMED = ".claimed"
LOST = Cause("WorkerLostError", "The worker's main process was killed.", "requeued")
POISONED = Cause("Poisoned", "It ran each time that its whole worker was killed.", "quarantined")


class Restorer:
    """Looks for workers that are gone."""

    def __init__(self, state_dir: Path, rings: Path, poison_after: int) -> None:
        self._state_dir = state_dir
        self._folder = held.folder(state_dir)
        self._rings = rings
        self._poison_after = poison_after
        self._next_try = 0.0
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Have what was claimed given back, in a thread of its own, as brokers may take long."""
        if self._thread is not None and self._thread.is_alive():
            return
        claimed = places.found(self._folder, CLAIMED)
        if claimed and time.monotonic() >= self._next_try:
            work = threading.Thread(target=self._give_back, args=(claimed,), name="held")
            work.daemon = True
            work.start()
            self._thread = work

    def wait(self, seconds: float) -> None:
        """Wait for what is being given back; what is left is the next agent's."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _give_back(self, claimed: list[Path]) -> None:
        for path in claimed:
            if time.monotonic() >= self._next_try:
                try:
                    self._restore(path)
                except Exception as error:
                    self._next_try = time.monotonic() + PAUSE
                    kind = type(error).__name__
                    log.exception("agent.part_failed", part="held", error_type=kind)

    def claim(self) -> None:
        """Take over the tables of dead workers, and tell what has ended with them.

        To be called before anybody tells what processes that are gone have left: what is given
        back is not lost.
        """
        for path in places.found(self._folder, held.SUFFIX):
            fd = held.take(path)
            if fd is not None:
                try:
                    self._take_over(path, held.read(fd))
                finally:
                    os.close(fd)

    def _take_over(self, path: Path, found: Found | None) -> None:
        # A pool of threads runs in the main process itself, and its spans tell themselves.
        running = [e for e in found.entries if e.pid not in (0, found.pid)] if found else []
        spans = {entry.task_id: self._die(entry) for entry in running}
        path.replace(path.with_suffix(CLAIMED))
        for entry in running:
            self._tell(entry, found.broker if found else {}, spans[entry.task_id])

    def _die(self, entry: Entry) -> str:
        """Note the death of a task's process, and the cause for its span; the span."""
        span = record.traceparent(left.find(self._rings, entry.pid, entry.task_id.encode()))
        attempts.note_death(self._state_dir, entry.task_id, span)
        inflight.note_cause(self._rings, entry.pid, self._cause(entry))
        return span

    def _tell(self, entry: Entry, broker: dict[str, Any], span: str) -> None:
        cause = self._cause(entry)
        tell.task(
            Outcome(cause.outcome, cause.error_type, cause.message),
            name=entry.task,
            task_id=entry.task_id,
            critical=entry.critical,
            service=str(broker.get("service") or ""),
            **_where(entry, span),
        )

    def _cause(self, entry: Entry) -> Cause:
        return POISONED if self._is_poison(entry) else LOST

    def _is_poison(self, entry: Entry) -> bool:
        deaths = attempts.of(self._state_dir, entry.task_id).deaths
        return bool(entry.pid) and 0 < self._poison_after <= deaths

    def _restore(self, path: Path) -> None:
        # Only where a worker was killed is Celery loaded into the agent.
        from ..celery import restore  # noqa: PLC0415

        found = _read(path)
        if found is not None and found.entries:
            try:
                self._settle(found, restore)
            except restore.FAILURES as error:
                self._next_try = time.monotonic() + PAUSE
                log.warning(names.MESSAGES_NOT_RESTORED, error=str(error), held=len(found.entries))
                if time.time() - path.stat().st_mtime < LONGEST:
                    return
        path.unlink(missing_ok=True)

    def _settle(self, found: Found, restore: Any) -> None:
        poison = [entry for entry in found.entries if self._is_poison(entry)]
        keep = partial(self._keep, found.broker)
        for entry in restore.give_back(found.broker, poison, keep):
            attempts.forget(self._state_dir, entry.task_id)
        queues: Counter[str] = Counter()
        others = [entry for entry in found.entries if entry not in poison]
        for entry in restore.give_back(found.broker, others):
            queues[entry.queue] += 1
            metrics.count_restored(entry.queue)
            if queues.total() <= LINES:
                log.info(
                    names.TASK_RESTORED, task=entry.task, task_id=entry.task_id, **_where(entry)
                )
        if queues:
            log.warning(names.MESSAGES_RESTORED, worker_pid=found.pid, queues=dict(queues))

    def _keep(self, broker: dict[str, Any], entry: Entry, message: bytes) -> bool:
        item = quarantine.new(
            message,
            reason="poison",
            error=f"{POISONED.error_type}: {POISONED.message}",
            queue=entry.queue,
            task=entry.task,
            task_id=entry.task_id,
            trace_id=_where(entry).get(names.TRACE_ID, ""),
            broker=without_password(str(broker.get("url", ""))),
            prefix=str((broker.get("options") or {}).get("global_keyprefix", "")),
        )
        metrics.count_quarantine_dropped(quarantine.keep(self._state_dir, item))
        return True


def _read(path: Path) -> Found | None:
    with path.open("rb") as file:
        return held.read(file.fileno())


def _where(entry: Entry, span: str = "") -> dict[str, Any]:
    """The queue, the trace and, where that is known, the span of the run."""
    parts = (span or entry.traceparent).split("-")
    found = {names.TRACE_ID: parts[1]} if len(parts) > 1 else {}
    if span:
        found[names.SPAN_ID] = parts[2]
    return {names.QUEUE: entry.queue, **found}
