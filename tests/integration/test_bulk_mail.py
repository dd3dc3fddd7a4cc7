"""A mail to many whose processes are killed, really, reaches each recipient once."""

from __future__ import annotations

import json
import os
import signal

import pytest
import redis
from sqlalchemy import text

from app import db
from tests.support import free_port, redis_server, wait_for
from tests.support.parts import MailServer, Parts

pytestmark = pytest.mark.integration

RECIPIENTS = [f"person{n}@example.com" for n in range(350)]
QUEUE = "email"


@pytest.fixture
def service(tmp_path, database):
    """Web, Redis and a mail server; each test brings its workers."""
    with MailServer() as server, redis_server(tmp_path) as (_, url):
        parts = Parts(tmp_path, url, {"SMTP_URL": server.url, "DATABASE_URL": database})
        with parts.web(), redis.Redis.from_url(url) as broker:
            yield parts, server, broker


def begun(parts, **fields):
    answer = parts.post("/api/send-bulk-emails", {"recipients": RECIPIENTS, **fields})
    assert answer.status == 202, answer.body
    assert answer.body["message"] == f"Queued {len(RECIPIENTS)} emails"
    return answer.body["task_id"]


def position(database):
    with db.engine(database).connect() as connection:
        return connection.execute(text("SELECT position FROM bulk_mails")).scalar()


def runner(broker, task_id):
    """The process that runs a task, as it noted itself."""
    meta = json.loads(broker.get(f"celery-task-meta-{task_id}") or "{}")
    return (meta.get("result") or {}).get("pid")


def each_got_one(parts, server, broker, task_id):
    """After everything that was queued, also twice, has run."""
    wait_for(lambda: parts.state(task_id) == "SUCCESS", "the mail to many has ended", 30)
    idle = lambda: broker.llen(QUEUE) + broker.hlen("unacked") == 0  # noqa: E731
    wait_for(idle, "all mails are sent", 60)
    result = parts.status(task_id).body["result"]
    assert (result["total"], result["sent"], result["failed"]) == (len(RECIPIENTS),) * 2 + ([],)
    assert sorted(mail.rcpt_tos[0] for mail in server.mails) == sorted(RECIPIENTS)


def test_a_killed_pool_process_neither_loses_nor_doubles_a_mail(service, database):
    """In the middle of a batch, while another process sends what is queued already."""
    parts, server, broker = service
    with parts.worker("-c", "2"):
        task_id = begun(parts)
        pid = wait_for(lambda: runner(broker, task_id), "a process runs the task")
        wait_for(lambda: broker.llen(QUEUE) >= 30, "a part of the batch is queued")
        os.kill(pid, signal.SIGKILL)
        assert position(database) == 0
        each_got_one(parts, server, broker, task_id)


def test_a_redis_that_restarts_neither_loses_nor_doubles_a_mail(tmp_path):
    """In the middle of a batch: the worker waits for it, and sends what it isn't sure of again."""
    port = free_port()
    with MailServer() as server, redis_server(tmp_path, port=port) as (program, url):
        parts = Parts(tmp_path, url, {"SMTP_URL": server.url})
        with parts.web(), parts.worker("-c", "1"):
            task_id = begun(parts)
            with redis.Redis.from_url(url) as broker:
                wait_for(lambda: broker.llen(QUEUE) >= 30, "a part of the batch is queued")
            program.stop()
            with redis_server(tmp_path, port=port), redis.Redis.from_url(url) as broker:
                each_got_one(parts, server, broker, task_id)


def test_a_killed_worker_neither_loses_nor_doubles_a_mail(service, database):
    """Its process group is gone at once; another worker takes over when its time is up."""
    parts, server, broker = service
    with parts.worker("-c", "1") as worker:
        task_id = begun(parts)
        wait_for(lambda: broker.llen(QUEUE) >= 30, "a part of the batch is queued")
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert position(database) == 0
    assert 30 <= broker.llen(QUEUE) < len(RECIPIENTS)
    assert server.mails == []
    # As if the time after which Redis redelivers were over.
    (tag,) = broker.hkeys("unacked")
    broker.zadd("unacked_index", {tag: 0})
    with parts.worker("-c", "2", name="second"):
        each_got_one(parts, server, broker, task_id)
