"""Sends what the rings of the host hold, and lets go of it when the collector has it.

What a killed agent has sent and not noted is sent again by the next one: at most one request.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from ..recorder import record, request, ring
from ..recorder.recorder import SUFFIX, folder
from .sender import Answer, Sender

log = structlog.get_logger("followthrough.agent")

LARGEST = 1024**2  # bytes of records that are sent together
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 300.0
DRAIN_SECONDS = 3.0


@dataclass(frozen=True)
class Part:
    """What a request holds of one ring."""

    path: Path
    file: tuple[int, int]
    batch: ring.Batch
    records: list[bytes]


class Shipper:
    """Reads all rings below `state_dir` and sends their records, about every `delay` seconds.

    It does so while `is_ours` says that no other agent can be at work there.
    """

    def __init__(
        self,
        state_dir: Path,
        sender: Sender,
        delay: float,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._folder = folder(state_dir)
        self._sender = sender
        self._delay = delay
        self._is_ours = is_ours
        self._is_more = False
        self._largest = LARGEST
        self._failures = 0

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
        answer = self._sender.send(request.traces(records), timeout)
        if answer.too_large and len(records) > 1:
            self._largest = max(1, sum(map(len, records)) // 2)
        elif answer.taken or answer.final:
            self._largest = min(LARGEST, self._largest * 2)
            _settle(parts, answer)
        self._tell(answer)
        return answer

    def _collected(self) -> list[Part]:
        parts, room = [], self._largest
        for path in _rings(self._folder):
            with _opened(path) as fd:
                if fd is None or ring.is_empty(fd):
                    continue
                batch, file = ring.read(fd, room), ring.identity(fd)
            records = [each for each in batch.payloads if record.is_span(each)]
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
        if not answer.taken and not answer.too_large and self._failures == 0:
            event = "spans.refused" if answer.final else "spans.not_sent"
            log.warning(event, reason=answer.reason)
        if answer.rejected:
            log.warning("spans.rejected", spans=answer.rejected)


def _rings(directory: Path) -> list[Path]:
    """The rings there are, in an order that gives each its turn first."""
    found = sorted(directory.glob(f"*{SUFFIX}"))
    turn = int(time.monotonic()) % max(1, len(found))
    return found[turn:] + found[:turn]


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """The ring's descriptor; None for one that is not whole, or gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield fd if ring.is_ring(fd) else None
    finally:
        os.close(fd)


def _settle(parts: list[Part], answer: Answer) -> None:
    """Move each ring's reader on, and count what the collector took and refused."""
    refused = answer.rejected if answer.taken else sum(len(part.records) for part in parts)
    for part in parts:
        strange = len(part.batch.payloads) - len(part.records)
        here = min(refused, len(part.records))
        refused -= here
        with _opened(part.path) as fd:
            # One that was removed or made anew meanwhile has none of these.
            if fd is not None and ring.identity(fd) == part.file:
                exported = len(part.records) - here
                ring.settle(fd, part.batch, exported=exported, rejected=here + strange)
