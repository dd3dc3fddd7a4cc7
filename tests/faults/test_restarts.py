"""One part is stopped and started again while requests flow: no accepted task is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.callers import Callers, is_worker, processes_of
from tests.support.service import Service, running_service

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("state")) as (service, _):
        yield service


def lost(service: Service, accepted: list[str]) -> list[str]:
    """Accepted tasks that did not succeed, after waiting for each to end."""
    return [task_id for task_id in accepted if service.ended(task_id, 60)["state"] != "SUCCESS"]


@pytest.mark.parametrize("part", ["redis", "worker", "web"])
def test_restarting_a_part_loses_no_accepted_task(service, part):
    """SIGTERM and a new start of Redis, worker or web: each accepted mail is sent once."""
    before = len(service.mails())
    with Callers(service) as callers:
        restart = service.manage("restart", part)
        assert restart.wait(30) == 0, restart.output()
        callers.flows()
    assert set(callers.statuses) <= {202, 503}
    assert lost(service, callers.accepted) == []
    # One mail each, and none but those whose request was answered with 503.
    sent = [mail["Message-ID"].strip("<>").partition("@")[0] for mail in service.mails()]
    assert all(sent.count(task_id) == 1 for task_id in callers.accepted)
    assert len(sent) - before <= len(callers.accepted) + callers.statuses.count(503)


def test_a_killed_pool_child_loses_no_accepted_task(service):
    """SIGKILL to the children of the pool: what they ran is run again."""
    with Callers(service) as callers:
        workers = processes_of(service, is_worker)
        children = [p for p in workers if p.parent() in workers]
        assert children
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        callers.flows()
    assert lost(service, callers.accepted) == []
