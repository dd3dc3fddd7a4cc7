"""States of tasks and workflows, waiting for their end and cancelling them, with a real worker."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from celery import chain, chord, group

from app import registry
from tests.support import wait_for
from tests.support.cancelling import (
    ENDED,
    JOBS,
    app,
    cancel,
    cancelled_lines,
    empty,
    job,
    parts,
    reaches,
    server,
)
from tests.support.jobs import again_later, fail, hold, noted, step

__all__ = ["app", "job", "parts", "server"]

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def worker(parts):
    with parts.worker(*JOBS) as program:
        yield program


def test_a_running_task_is_ended_once(worker, parts, job, tmp_path):
    running = registry.publish(job(hold))
    wait_for(lambda: noted(tmp_path, "held"), "it runs")
    assert parts.state(running.id) == "STARTED"
    assert cancel(parts, running.id).body["was"] == "running"
    reaches(parts, running.id, "REVOKED")
    wait_for(lambda: empty(parts), "its message is acknowledged")
    (tmp_path / "go").touch()
    reaches(parts, registry.publish(job(step)).id, "SUCCESS")
    assert cancel(parts, running.id).body["was"] == "cancelled"
    assert running.id not in noted(tmp_path, "ran")
    assert len(noted(tmp_path, "held")) == 1
    assert len(cancelled_lines(worker, running.id)) == 1


def test_a_process_about_to_start_a_cancelled_task_does_not(worker, app, parts, job, tmp_path):
    """Nobody told the worker; the store of its start does."""
    task_id = "told-to-none"
    app.extensions["celery"].backend.cancel([task_id], 60)
    registry.publish(job(step).set(task_id=task_id))
    wait_for(lambda: empty(parts), "the message is gone")
    reaches(parts, registry.publish(job(step)).id, "SUCCESS")
    assert task_id not in noted(tmp_path, "ran")
    assert parts.state(task_id) == "REVOKED"


def test_a_chain_is_cancelled_with_what_comes_later(worker, parts, job, tmp_path):
    result = registry.publish(chain(job(step), job(hold), job(step), job(step)))
    wait_for(lambda: noted(tmp_path, "held"), "the second runs")
    told = parts.status(result.id).body
    assert told["state"] == "PROGRESS"
    assert told["progress"] == {"current": 1, "total": 4, "percent": 25}
    assert [c["state"] for c in told["children"]] == ["SUCCESS", "STARTED", *["PENDING"] * 2]
    answer = cancel(parts, result.id).body
    assert (answer["was"], answer["cancelled"]) == ("running", 3)
    (tmp_path / "go").touch()
    wait_for(lambda: empty(parts), "the message is acknowledged")
    reaches(parts, registry.publish(job(step)).id, "SUCCESS")
    told = parts.status(result.id).body
    assert told["state"] == "REVOKED"
    assert [c["state"] for c in told["children"]] == ["SUCCESS", *["REVOKED"] * 3]
    assert len(noted(tmp_path, "ran")) == 2


def test_a_chord_is_cancelled_with_its_body(worker, parts, job, tmp_path):
    result = registry.publish(chord([job(step), job(hold)], job(step)))
    wait_for(lambda: noted(tmp_path, "held") and noted(tmp_path, "ran"), "it runs")
    assert cancel(parts, result.id).body["was"] == "running"
    (tmp_path / "go").touch()
    wait_for(lambda: empty(parts), "the message is acknowledged")
    reaches(parts, registry.publish(job(step)).id, "SUCCESS")
    assert parts.state(result.id) == "REVOKED"
    assert len(noted(tmp_path, "ran")) == 2


def test_a_failed_workflow_says_who_failed(worker, parts, job):
    results = [
        registry.publish(made)
        for made in (
            chain(job(step), job(fail), job(step), job(step)),
            chord([job(fail), job(step)], job(step)),
            group(job(step), job(fail)),
        )
    ]
    for result in results:
        told = reaches(parts, result.id, *ENDED)
        assert told["state"] == "FAILURE"
        (failed,) = told["failed"]
        assert failed["name"] == "test.fail"
        assert failed["error"] == "no luck"
        assert told["error"] == f"test.fail ({failed['task_id']}): no luck"
        answer = cancel(parts, result.id)
        assert (answer.status, answer.body["state"]) == (409, "FAILURE")


def test_what_waits_for_its_time_is_cancelled(worker, parts, job, tmp_path):
    """A first try that a worker holds, and a second one."""
    held = registry.publish(job(step).set(countdown=60))
    retried = registry.publish(job(again_later))
    assert reaches(parts, held.id, "RECEIVED")["status"]
    assert reaches(parts, retried.id, "RETRY")["error"] == "not yet"
    for each in (held, retried):
        assert cancel(parts, each.id).body["was"] == "pending"
        assert parts.state(each.id) == "REVOKED"
    wait_for(lambda: empty(parts), "the messages are acknowledged")
    assert len(noted(tmp_path, "ran")) == 1


def test_a_wait_ends_with_the_task(worker, parts, job, tmp_path):
    result = registry.publish(job(hold))
    wait_for(lambda: noted(tmp_path, "held"), "it runs")
    late = parts.get(f"/api/task-status/{result.id}?wait=0.3")
    assert late.body["state"] == "STARTED"
    assert 0.3 <= late.seconds < 1.5
    ended = []

    def ask():
        ended.append((parts.get(f"/api/task-status/{result.id}?wait=20"), time.monotonic()))

    asking = threading.Thread(target=ask)
    asking.start()
    (tmp_path / "go").touch()
    reaches(parts, result.id, "SUCCESS")
    known = time.monotonic()
    asking.join(10)
    ((answer, answered),) = ended
    assert answer.body["state"] == "SUCCESS"
    assert answered - known < 0.3


def test_a_wait_ends_when_redis_does(worker, parts, server, job, tmp_path):
    result = registry.publish(job(hold))
    wait_for(lambda: noted(tmp_path, "held"), "it runs")
    told = []

    def ask():
        told.append((parts.get(f"/api/task-status/{result.id}?wait=20"), time.monotonic()))

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: parts.get("/api/ready").status == 200, "redis answers")
    server[0].signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        asking.join(10)
        for path in ("workers", "queues", "health"):
            answer = parts.get(f"/monitoring/{path}")
            assert answer.status == 503
            assert answer.seconds < 2
    finally:
        server[0].signal(signal.SIGCONT)
    ((answer, answered),) = told
    assert answer.status == 503
    assert answered - stopped < 2
    wait_for(lambda: parts.get("/api/ready").status == 200, "redis answers again")
    assert cancel(parts, result.id).status == 200
