"""One part is stopped and started again while requests flow: no accepted task is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Self

import psutil
import pytest

from tests.support import wait_for
from tests.support.service import Service, running_service

pytestmark = pytest.mark.integration


class Callers:
    """Requests that flow all the time; remembers what was accepted."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.accepted: list[str] = []
        self.statuses: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.flows()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _call(self) -> None:
        while not self._stop.wait(0.02):
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


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("state")) as (service, _):
        yield service


def lost(service: Service, accepted: list[str]) -> list[str]:
    """Accepted tasks that did not succeed, after waiting for each to end."""
    return [task_id for task_id in accepted if service.ended(task_id, 60)["state"] != "SUCCESS"]


@pytest.mark.parametrize("part", ["redis", "worker", "web"])
def test_restarting_a_part_loses_no_accepted_task(service, part):
    """SIGTERM and a new start of Redis, worker or web, in the midst of requests."""
    with Callers(service) as callers:
        restart = service.manage("restart", part)
        assert restart.wait(30) == 0, restart.output()
        callers.flows()
    assert set(callers.statuses) <= {202, 503}
    assert lost(service, callers.accepted) == []


def test_a_killed_pool_child_loses_no_accepted_task(service):
    """SIGKILL to the children of the pool: what they ran is run again."""
    with Callers(service) as callers:
        for child in pool_children(service):
            os.kill(child.pid, signal.SIGKILL)
        callers.flows()
    assert lost(service, callers.accepted) == []


def pool_children(service: Service) -> list[psutil.Process]:
    """The worker's children, found by the environment that only this service has."""
    workers = [p for p in psutil.process_iter() if is_worker(p, service)]
    children = [p for p in workers if p.parent() in workers]
    assert children
    return children


def is_worker(process: psutil.Process, service: Service) -> bool:
    try:
        mine = process.environ().get("STATE_DIR") == str(service.state)
        return mine and "worker" in process.cmdline() and "celery" in " ".join(process.cmdline())
    except psutil.Error:
        return False
