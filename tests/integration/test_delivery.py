"""What was accepted is run, whatever is stopped, killed or restarted meanwhile."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from celery import states

from app import create_app, registry, settings
from tests.support import free_port, redis_server, wait_for
from tests.support.jobs import die, hold, noted, step
from tests.support.parts import MailServer, Parts

pytestmark = pytest.mark.integration

JOBS = ("--include", "tests.support.jobs")


@pytest.fixture
def service(tmp_path):
    """A running Redis, the parts that use it, and an application to publish with."""
    port = free_port()
    with redis_server(tmp_path, port=port) as (redis, url):
        parts = Parts(tmp_path, url)
        app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
        with app.app_context():
            yield parts, redis, app


def held(directory, count=1):
    """The processes that run `hold`, once there are `count`."""
    pids = wait_for(lambda: len(p := noted(directory, "held")) >= count and p, "tasks are running")
    return [int(pid) for pid in pids]


def let_go(directory):
    (directory / "go").touch()


def ran(directory, ids, deadline=20.0):
    """Each of `ids` ran, once."""
    wait_for(lambda: set(ids) <= set(noted(directory, "ran")), "all tasks ran", deadline)
    assert sorted(noted(directory, "ran")) == sorted(ids)


def test_a_killed_pool_process_loses_no_task(service, tmp_path):
    """kill -9 of the process that runs a task: another runs it, seconds later."""
    parts, _, app = service
    with parts.worker("-c", "1", *JOBS):
        result = registry.publish(hold.s(directory=str(tmp_path)))
        os.kill(held(tmp_path)[0], signal.SIGKILL)
        held(tmp_path, 2)
        let_go(tmp_path)
        ran(tmp_path, [result.id])
        assert app.extensions["celery"].AsyncResult(result.id).get(timeout=10) == "held"


def test_a_killed_worker_s_task_is_given_to_another_after_the_time_set(service, tmp_path):
    """kill -9 of a whole worker: one that runs already finds what it held."""
    parts, _, _ = service
    parts.env["CELERY_VISIBILITY_TIMEOUT"] = "3"
    with parts.worker("-c", "1", *JOBS, name="a"), parts.worker("-c", "1", *JOBS, name="b"):
        result = registry.publish(hold.s(directory=str(tmp_path)))
        (pid,) = held(tmp_path)
        os.killpg(psutil.Process(pid).ppid(), signal.SIGKILL)
        let_go(tmp_path)
        ran(tmp_path, [result.id], 8)


def test_a_task_that_kills_its_process_each_time_fails_in_the_end(service, tmp_path):
    """It is tried as often as its max_retries says, and the worker goes on with others."""
    parts, _, app = service
    with parts.worker("-c", "1", *JOBS):
        poison = registry.publish(die.s(directory=str(tmp_path)))
        result = app.extensions["celery"].AsyncResult(poison.id)
        wait_for(lambda: result.state == states.FAILURE, "the poison has failed", 30)
        assert len(held(tmp_path)) == 3
        good = registry.publish(step.s(directory=str(tmp_path)))
        ran(tmp_path, [good.id])


def test_a_warm_stop_ends_what_runs_and_leaves_the_rest(service, tmp_path):
    """SIGTERM: running tasks end, waiting ones stay for the next worker, none runs twice."""
    parts, _, _ = service
    with parts.worker("-c", "2", *JOBS) as worker:
        ids = [registry.publish(hold.s(directory=str(tmp_path))).id for _ in range(6)]
        held(tmp_path, 2)
        worker.signal(signal.SIGTERM)
        wait_for(lambda: "Warm shutdown" in worker.output(), "the worker stops")
        let_go(tmp_path)
        assert worker.wait() == 0
    assert len(noted(tmp_path, "ran")) == 2
    with parts.worker("-c", "2", *JOBS, name="next"):
        ran(tmp_path, ids)


def test_a_cold_stop_gives_its_tasks_back_at_once(service, tmp_path):
    """SIGQUIT after SIGTERM, for a task that takes too long: the next worker has it at once."""
    parts, _, _ = service
    with parts.worker("-c", "1", *JOBS) as worker:
        result = registry.publish(hold.s(directory=str(tmp_path)))
        held(tmp_path)
        worker.signal(signal.SIGTERM)
        wait_for(lambda: "Warm shutdown" in worker.output(), "the worker stops")
        worker.signal(signal.SIGQUIT)
        worker.wait()
    with parts.worker("-c", "1", *JOBS, name="next"):
        held(tmp_path, 2)
        let_go(tmp_path)
        ran(tmp_path, [result.id])


def test_a_redis_restart_under_load_loses_no_accepted_task(service, tmp_path):
    """What was answered with 202 is run; the worker is back within ten seconds by itself."""
    parts, redis, _ = service
    port = int(parts.redis.split(":")[-1].split("/")[0])
    with MailServer() as mail:
        parts.env["SMTP_URL"] = mail.url
        with parts.web(), parts.worker("-c", "2", *JOBS):
            accepted = sent(parts, 60)
            redis.stop()
            accepted += sent(parts, 3)
            with redis_server(tmp_path, port=port):
                start = time.monotonic()
                wait_for(lambda: (last := sent(parts, 1)) and accepted.extend(last) is None, "202")
                accepted += sent(parts, 60)
                wait_for(lambda: parts.state(accepted[-1]) == states.SUCCESS, "worker is back", 10)
                assert time.monotonic() - start < 10
                delivered = {m_id(m) for m in mail.mails}
                wait_for(lambda: set(accepted) <= {m_id(m) for m in mail.mails}, "all mails", 30)
                assert {parts.state(each) for each in accepted} == {states.SUCCESS}
                assert delivered


def sent(parts, count):
    """The ids of those of `count` mails that were accepted."""
    replies = [parts.send() for _ in range(count)]
    return [reply.body["task_id"] for reply in replies if reply.status == 202]


def m_id(mail):
    head = mail.content.split(b"Message-ID: <")[1]
    return head.split(b"@")[0].decode()


def test_a_worker_outlives_a_silent_redis(service, tmp_path):
    """Redis stopped (SIGSTOP) for longer than each time-out: work goes on within ten seconds."""
    parts, redis, _ = service
    with parts.worker("-c", "1", *JOBS) as worker:
        before = registry.publish(hold.s(directory=str(tmp_path)))
        held(tmp_path)
        redis.signal(signal.SIGSTOP)
        let_go(tmp_path)
        wait_for(lambda: noted(tmp_path, "ran"), "the task ended meanwhile")
        wait_for(lambda: "onnection" in worker.output().split("ready")[-1], "it was noticed", 40)
        redis.signal(signal.SIGCONT)
        start = time.monotonic()
        after = wait_for(lambda: published(tmp_path), "publishing works again")
        ran_all = lambda: {before.id, after.id} <= set(noted(tmp_path, "ran"))  # noqa: E731
        wait_for(ran_all, "work goes on", 10)
        assert time.monotonic() - start < 10


def published(directory):
    try:
        return registry.publish(step.s(directory=str(directory)))
    except Exception:  # noqa: BLE001
        return None


def test_two_workers_share_the_queue(service, tmp_path):
    """Side by side each task runs once, and both take part."""
    parts, _, _ = service
    with parts.worker("-c", "1", *JOBS, name="a"), parts.worker("-c", "1", *JOBS, name="b"):
        ids = [registry.publish(hold.s(directory=str(tmp_path))).id for _ in range(2)]
        pids = held(tmp_path, 2)
        assert len({psutil.Process(pid).ppid() for pid in pids}) == 2
        let_go(tmp_path)
        ran(tmp_path, ids)
