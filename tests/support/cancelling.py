"""A service whose tasks are cancelled, waited for and looked at."""

from __future__ import annotations

import pytest
import redis

from app import create_app, settings
from tests.support import redis_server, wait_for
from tests.support.parts import Parts

JOBS = ("--include", "tests.support.jobs", "--concurrency", "2")
ENDED = ("SUCCESS", "FAILURE", "REVOKED")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture(scope="module")
def parts(server, tmp_path_factory):
    parts = Parts(tmp_path_factory.mktemp("parts"), server[1])
    with parts.web():
        yield parts


@pytest.fixture(scope="module")
def app(parts):
    app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
    with app.app_context():
        yield app


@pytest.fixture
def job(app, parts, tmp_path):
    """Signatures of test tasks that note what they do in this test's directory.

    What a worker that an earlier test killed had not acknowledged is gone.
    """
    with redis.Redis.from_url(parts.redis) as client:
        client.flushdb()
    return lambda task: task.s(directory=str(tmp_path))


def cancel(parts, task_id):
    return parts.post(f"/api/task-cancel/{task_id}", {})


def reaches(parts, task_id, *states):
    def reached():
        told = parts.status(task_id).body
        return told if told.get("state") in states else None

    return wait_for(reached, f"{task_id} is {states}")


def empty(parts):
    """No message waits, and no worker holds one."""
    with redis.Redis.from_url(parts.redis) as client:
        return client.llen("default") == 0 and client.hlen("unacked") == 0


def cancelled_lines(program, task_id):
    return [
        line
        for line in program.output().splitlines()
        if "task.terminated" in line or ("task.revoked" in line and task_id in line)
    ]
