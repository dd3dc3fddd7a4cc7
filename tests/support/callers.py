"""Requests that flow while something is stopped, and the processes of a service."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

import psutil

from tests.support import wait_for
from tests.support.service import Service


class Callers:
    """Requests that flow all the time; remembers what was accepted.

    Each of `threads` waits `pause` seconds between its requests.
    """

    def __init__(self, service: Service, threads: int = 1, pause: float = 0.02) -> None:
        self.service = service
        self.pause = pause
        self.accepted: list[str] = []
        self.statuses: list[int] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.flows()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _call(self) -> None:
        while not self._stop.wait(self.pause):
            try:
                answer = self.service.send_email()
            except OSError:  # refused while the web process restarts: nothing was accepted
                continue
            self.statuses.append(answer.status)
            if answer.status == 202:
                self.accepted.append(answer.body["task_id"])

    def flows(self, more: int = 10) -> None:
        """Wait until `more` requests are accepted from now on."""
        target = len(self.accepted) + more
        wait_for(lambda: len(self.accepted) >= target, f"{more} more accepted", 30)


def processes_of(
    service: Service, wanted: Callable[[psutil.Process], bool]
) -> list[psutil.Process]:
    """The service's processes, found by the state directory in their environment."""
    return [p for p in psutil.process_iter() if _is_mine(p, service) and wanted(p)]


def _is_mine(process: psutil.Process, service: Service) -> bool:
    try:
        return process.environ().get("STATE_DIR") == str(service.state)
    except psutil.Error:
        return False


def is_worker(process: psutil.Process) -> bool:
    """Whether it is a Celery worker's main process or one of its children."""
    command = process.cmdline()
    return "worker" in command and "celery" in " ".join(command)
