"""Cancelling holds with no worker, over a worker's end, and while one is away; monitoring."""

from __future__ import annotations

import signal

import pytest
import redis

from app import registry
from tests.support import wait_for
from tests.support.cancelling import (
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
from tests.support.jobs import hold, noted, step

__all__ = ["app", "job", "parts", "server"]

pytestmark = pytest.mark.integration


def test_what_is_cancelled_with_no_worker_never_runs(parts, job, tmp_path):
    result = registry.publish(job(step))
    assert parts.state(result.id) == "PENDING"
    assert cancel(parts, result.id).body["was"] == "pending"
    assert parts.state(result.id) == "REVOKED"
    with parts.worker(*JOBS) as worker:
        wait_for(lambda: empty(parts), "the message is gone")
        wait_for(lambda: cancelled_lines(worker, result.id), "it is told")
    assert noted(tmp_path, "ran") == []
    assert parts.state(result.id) == "REVOKED"


def test_a_cancelled_task_is_remembered_by_the_next_worker(parts, job, tmp_path):
    """The worker that was told is killed while the message waits."""
    for _ in range(2):
        registry.publish(job(hold))
    with parts.worker(*JOBS, name="first") as worker:
        wait_for(lambda: len(noted(tmp_path, "held")) == 2, "both processes are busy")
        waiting = registry.publish(job(step))
        assert cancel(parts, waiting.id).body["was"] == "pending"
        worker.signal(signal.SIGKILL)
        worker.wait()
        (tmp_path / "go").touch()
    with parts.worker(*JOBS, name="second"):
        done = registry.publish(job(step))
        reaches(parts, done.id, "SUCCESS")
    assert waiting.id not in noted(tmp_path, "ran")
    assert parts.state(waiting.id) == "REVOKED"


def test_a_task_cancelled_while_its_worker_was_away_is_ended(parts, job, tmp_path):
    """It hears of it as it connects again; the broadcast is lost."""
    with parts.worker(*JOBS, name="away") as worker:
        running = registry.publish(job(hold))
        wait_for(lambda: noted(tmp_path, "held"), "it runs")
        with redis.Redis.from_url(parts.redis) as client:
            worker.signal(signal.SIGSTOP)
            assert client.client_kill_filter(_type="pubsub")
            assert cancel(parts, running.id).body["was"] == "running"
            worker.signal(signal.SIGCONT)
        reaches(parts, running.id, "REVOKED")
        wait_for(lambda: empty(parts), "its message is acknowledged")
    assert running.id not in noted(tmp_path, "ran")


def test_monitoring_tells_the_workers_and_queues(parts, job, tmp_path):
    with parts.worker(*JOBS, name="seen") as worker:
        running = registry.publish(job(hold))
        wait_for(lambda: noted(tmp_path, "held"), "it runs")
        expected = {
            "name": "seen@test",
            "active_tasks": 1,
            "reserved_tasks": 0,
            "concurrency": 2,
        }

        def busy():
            return parts.get("/monitoring/workers").body == {"workers": [expected]}

        wait_for(busy, "the worker is seen")
        first = parts.get("/api/monitoring/queues").body
        assert first["queues"]["default"]["workers"] == ["seen@test"]
        assert first["unacked"] == 1
        assert parts.get("/monitoring/health").body == {
            "status": "healthy",
            "workers": ["seen@test"],
        }
        worker.signal(signal.SIGSTOP)
        try:
            for _ in range(3):
                # The first is taken: the worker has asked for it already.
                registry.publish(job(step))

            def unhealthy():
                answer = parts.get("/monitoring/health")
                assert answer.seconds < 1.5
                return answer.status == 503

            wait_for(unhealthy, "the wedged worker is noticed")
            queue = wait_for(
                lambda: (
                    (q := parts.get("/monitoring/queues").body["queues"]["default"])["length"] and q
                ),
                "the queue grows",
            )
            assert queue["workers"] == []
            assert 0 <= queue["oldest_age_seconds"] < 10
        finally:
            worker.signal(signal.SIGCONT)
        (tmp_path / "go").touch()
        reaches(parts, running.id, "SUCCESS")
