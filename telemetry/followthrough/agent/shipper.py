"""Sends what the rings of the host hold, and lets go of it when the collector has it.

What a killed agent has sent and not noted is sent again by the next one: at most one request.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from ..recorder import record, request, ring
from ..recorder.places import LOGS as LOG_RINGS
from ..recorder.places import SPANS, folder
from .sender import Answer, Sender

log = structlog.get_logger("followthrough.agent")

LARGEST = 1024**2  # bytes of records that are sent together
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 300.0
DRAIN_SECONDS = 3.0


@dataclass(frozen=True)
class Signal:
    """One of OTLP's signals: its ring, what is a record of it, and how records make a request."""

    name: str
    ring: str
    is_record: Callable[[bytes], bool]
    joined: Callable[[Iterable[bytes]], bytes]


TRACES = Signal("spans", SPANS, record.is_span, request.traces)
LOGS = Signal("logs", LOG_RINGS, record.is_log, request.logs)


@dataclass(frozen=True)
class Part:
    """What a request holds of one ring."""

    path: Path
    file: tuple[int, int]
    batch: ring.Batch
    records: list[bytes]


class Shipper:
    """Reads all rings of a signal and sends their records, about every `delay` seconds.

    It does so while `is_ours` says that no other agent can be at work there.
    """

    def __init__(
        self,
        state_dir: Path,
        sender: Sender,
        delay: float,
        is_ours: Callable[[], bool] = lambda: True,
        signal: Signal = TRACES,
    ) -> None:
        self._folder = folder(state_dir)
        self._sender = sender
        self._delay = delay
        self._is_ours = is_ours
        self._signal = signal
        self._is_more = False
        self._largest = LARGEST
        self._failures = 0
        self._refusal = ""

    def run(self, stop: threading.Event) -> None:
        """Send until `stop`, then what is left, for a bounded time."""
        while not stop.wait(self._pause(self.ship())):
            pass
        end = time.monotonic() + DRAIN_SECONDS
        while (left := end - time.monotonic()) > 0 and self._ship_within(left):
            pass

    def ship(self) -> Answer | None:
        """Send one request; None if there was nothing to send."""
        return self._ship(math.inf)

    def _ship_within(self, seconds: float) -> bool:
        answer = self._ship(seconds)
        return answer is not None and answer.taken

    def _ship(self, timeout: float) -> Answer | None:
        parts = self._collected() if self._is_ours() else []
        records = [each for part in parts for each in part.records]
        if not records:
            _settle(parts, Answer(taken=True))
            return None
        answer = self._sender.send(self._signal.joined(records), timeout)
        if answer.too_large and len(records) > 1:
            self._largest = max(1, sum(map(len, records)) // 2)
        elif answer.taken or answer.final:
            self._largest = min(LARGEST, self._largest * 2)
            _settle(parts, answer)
        self._tell(answer)
        return answer

    def _collected(self) -> list[Part]:
        parts, room = [], self._largest
        for path in _rings(self._folder, self._signal.ring):
            with ring.opened(path) as fd:
                if fd is None or ring.is_empty(fd):
                    continue
                batch, file = ring.read(fd, room), ring.identity(fd)
            records = [each for each in batch.payloads if self._signal.is_record(each)]
            parts.append(Part(path, file, batch, records))
            room -= sum(map(len, batch.payloads))
            if room <= 0:
                break
        self._is_more = room <= 0
        return parts

    def _pause(self, answer: Answer | None) -> float:
        """Seconds until the next request."""
        if answer is None:
            return self._delay
        if answer.taken or answer.final or answer.too_large:
            self._failures = 0
            # What is joined costs less than what is sent at once, unless a request was filled.
            return self._delay if answer.taken and not self._is_more else 0.0
        self._failures += 1
        grown = min(LONGEST_PAUSE, self._delay * 2 ** min(self._failures, 16))
        wanted = min(LONGEST_RETRY_AFTER, answer.retry_after or 0.0)
        return max(wanted, grown) * random.uniform(1.0, 1.2)  # noqa: S311  no secret

    def _tell(self, answer: Answer) -> None:
        signal = self._signal.name
        refusal = answer.reason if answer.final and not answer.too_large else ""
        if refusal and refusal != self._refusal:
            log.warning("export.refused", signal=signal, reason=refusal)
        elif not (answer.taken or answer.final) and self._failures == 0:
            log.warning("export.waits", signal=signal, reason=answer.reason)
        self._refusal = refusal
        if answer.rejected:
            log.warning("export.rejected", signal=signal, number=answer.rejected)


def _rings(directory: Path, what: str) -> list[Path]:
    """The rings there are, in an order that gives each its turn first."""
    found = sorted(directory.glob(f"*{what}"))
    turn = int(time.monotonic()) % max(1, len(found))
    return found[turn:] + found[:turn]


def _settle(parts: list[Part], answer: Answer) -> None:
    """Move each ring's reader on, and count what the collector took and refused."""
    refused = answer.rejected if answer.taken else sum(len(part.records) for part in parts)
    for part in parts:
        strange = len(part.batch.payloads) - len(part.records)
        here = min(refused, len(part.records))
        refused -= here
        with ring.opened(part.path) as fd:
            # One that was removed or made anew meanwhile has none of these.
            if fd is not None and ring.identity(fd) == part.file:
                exported = len(part.records) - here
                ring.settle(fd, part.batch, exported=exported, rejected=here + strange)
