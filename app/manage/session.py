"""The manager's life: one loop over signals, services and logs, from start to the last process."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

from app.manage.output import Tail, last_lines, trim
from app.manage.supervisor import Supervisor
from app.manage.unit import Place

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESTART = signal.SIGUSR1
BUSY, WATCHED, IDLE = 0.05, 0.1, 5.0  # seconds between two looks
# `timeout` and some shells send the same signal twice; that isn't a second Ctrl-C.
TWICE = 0.3  # seconds


class Signals:
    """Signals as values: they end a wait and are then taken in order."""

    def __init__(self) -> None:
        self._arrived: list[int] = []
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._before = {
            number: signal.signal(number, self._take) for number in (*STOP, RESTART, signal.SIGCHLD)
        }
        self._wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self._arrived.append(number)

    def wait(self, seconds: float) -> list[int]:
        """The signals that came, at the latest after `seconds`."""
        select.select([self._read], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            self._read.recv(4096)
        arrived, self._arrived = self._arrived, []
        return arrived

    def close(self) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._read.close()
        self._write.close()


class Session:
    """Runs a supervisor until all of its processes are gone."""

    def __init__(self, supervisor: Supervisor, place: Place, tail: Tail | None) -> None:
        self.supervisor = supervisor
        self.place = place
        self.tail = tail
        self._signals = Signals()
        self._asked = 0.0
        self._trimmed = time.monotonic()

    def run(self, on_ready: Callable[[], None]) -> int:
        """Start, call `on_ready` once all is ready, and serve; the exit code."""
        try:
            return self._run(on_ready)
        finally:
            self._signals.close()

    def _run(self, on_ready: Callable[[], None]) -> int:
        supervisor = self.supervisor
        supervisor.start()
        self._until(lambda: supervisor.ready or bool(supervisor.failed) or supervisor.ending)
        if supervisor.failed:
            supervisor.stop()
        elif not supervisor.ending:
            on_ready()
        self._until(lambda: supervisor.gone)
        return self._report() if supervisor.failed else 0

    def stop(self) -> None:
        """Stop what the supervisor has, and return when it is gone."""
        try:
            self.supervisor.stop()
            self._until(lambda: self.supervisor.gone)
        finally:
            self._signals.close()

    def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.supervisor.tick(time.monotonic())
            self._show()
            if not done():
                self._obey(self._signals.wait(self._pause()))
        self._show()

    def _pause(self) -> float:
        if self.supervisor.busy:
            return BUSY
        return WATCHED if self.tail else IDLE

    def _show(self) -> None:
        if self.tail:
            self.tail.show()
        if time.monotonic() - self._trimmed > IDLE:
            self._trimmed = time.monotonic()
            for name in self.supervisor.units:
                trim(self.place.log(name))

    def _obey(self, signals: list[int]) -> None:
        if RESTART in signals:
            self.supervisor.restart(self.place.run.take_requests())
        if not set(signals) & set(STOP):
            return
        if not self.supervisor.ending:
            self._asked = time.monotonic()
            self.supervisor.stop()
        elif time.monotonic() - self._asked > TWICE:
            self.supervisor.hurry()

    def _report(self) -> int:
        failed = self.supervisor.failed
        if failed and not self.tail:
            lines = last_lines(self.place.log(failed.name))
            sys.stderr.write("".join(f"{failed.name} | {line}\n" for line in lines))
        if failed:
            sys.stderr.write(f"{failed.reason}; everything is stopped again\n")
        return 1
