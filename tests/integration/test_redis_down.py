"""With Redis away in each of the ways it can be, a request is answered in time, and later works."""

from __future__ import annotations

import contextlib
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.support import free_port, redis_server, wait_for
from tests.support.parts import Parts

pytestmark = pytest.mark.integration

IN_TIME = 2.0  # seconds


def refused(reply):
    """A 503 problem with Retry-After, in time."""
    assert reply.status == 503, reply.body
    assert int(reply.headers["Retry-After"]) >= 1
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.seconds < IN_TIME
    return True


def works_again(parts):
    """Both routes answer again, without a restart."""
    sent = wait_for(lambda: (r := parts.send()).status == 202 and r, "mail is taken again")
    status = wait_for(
        lambda: (r := parts.status(sent.body["task_id"])).status == 200 and r, "status"
    )
    assert status.body["state"] == "PENDING"


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "results").mkdir()
    return tmp_path


@contextlib.contextmanager
def paused(program):
    program.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        program.signal(signal.SIGCONT)


def test_a_closed_port(directory):
    """Redis is gone: 503 for both routes, and 202 again once it is back."""
    port = free_port()
    with redis_server(directory, port=port) as (redis, url):
        parts = Parts(directory, url)
        with parts.web():
            task_id = parts.send().body["task_id"]
            redis.stop()
            refused(parts.send())
            refused(parts.status(task_id))
            with redis_server(directory, port=port):
                works_again(parts)
                assert parts.state(task_id) == "PENDING"


def test_a_restart_between_two_requests_is_not_noticed(directory):
    """Connections that the old Redis closed are replaced without failing a request."""
    port = free_port()
    with redis_server(directory, port=port) as (redis, url):
        parts = Parts(directory, url)
        with parts.web():
            task_id = parts.send().body["task_id"]
            redis.stop()
            with redis_server(directory, port=port):
                assert parts.send().status == 202
                assert parts.state(task_id) == "PENDING"


def test_a_web_process_that_starts_without_redis(directory):
    """The web process needs no Redis to start, and finds it when it comes."""
    port = free_port()
    parts = Parts(directory, f"redis://127.0.0.1:{port}/0")
    with parts.web():
        refused(parts.send())
        refused(parts.get("/api/ready"))
        with redis_server(directory, port=port):
            works_again(parts)


def test_a_stopped_redis(directory):
    """Redis takes connections but is silent (SIGSTOP): 503 in time, with no warm-up too."""
    with redis_server(directory) as (redis, url):
        parts = Parts(directory, url)
        with parts.web():
            task_id = parts.send().body["task_id"]
            with paused(redis):
                refused(parts.status(task_id))
                refused(parts.send())
            works_again(parts)
        with paused(redis), parts.web():
            refused(parts.send())


def test_requests_do_not_pile_up_while_redis_is_stopped(directory):
    """Three times as many callers as threads: each is answered in time, no thread is left over."""
    with redis_server(directory) as (redis, url):
        parts = Parts(directory, url, {"WEB_THREADS": "4"})
        with parts.web() as web, ThreadPoolExecutor(12) as callers:
            task_id = parts.send().body["task_id"]
            list(callers.map(lambda _: parts.status(task_id), range(24)))
            threads = thread_count(web)
            with paused(redis):
                sent = [callers.submit(parts.send) for _ in range(36)]
                asked = [callers.submit(parts.status, task_id) for _ in range(36)]
                assert all(refused(each.result()) for each in [*sent, *asked])
                assert thread_count(web) <= threads
            works_again(parts)
            assert thread_count(web) <= threads


def thread_count(web):
    return sum(p.num_threads() for p in psutil.Process(web.pid).children())


@pytest.mark.parametrize("way", ["closed", "stopped"])
def test_a_result_backend_away_while_the_broker_is_up(directory, way):
    """Without a place for its result a task is refused, and its status can't be told."""
    port = free_port()
    with (
        redis_server(directory) as (_, broker),
        redis_server(directory / "results", port=port) as (results, url),
        contextlib.ExitStack() as back,
    ):
        parts = Parts(directory, broker, {"CELERY_RESULT_BACKEND": url})
        with parts.web():
            task_id = parts.send().body["task_id"]
            with away(results, directory / "results", port, way, back):
                refused(parts.send())
                refused(parts.status(task_id))
            works_again(parts)


def test_a_broker_away_while_the_result_backend_is_up(directory):
    """Mail is refused, but the status of what was taken is still told."""
    with (
        redis_server(directory) as (redis, broker),
        redis_server(directory / "results") as (_, url),
    ):
        parts = Parts(directory, broker, {"CELERY_RESULT_BACKEND": url})
        with parts.web():
            task_id = parts.send().body["task_id"]
            with paused(redis):
                refused(parts.send())
                assert parts.state(task_id) == "PENDING"
            works_again(parts)


def test_a_full_redis(directory):
    """Redis that may take no more (noeviction) refuses the publish: 503, not a lost task."""
    with redis_server(directory) as (_, url):
        parts = Parts(directory, url)
        with parts.web(), client(url) as redis:
            parts.send()
            redis.config_set("maxmemory", 1)
            refused(parts.send())
            redis.config_set("maxmemory", 0)
            works_again(parts)


def test_publishing_opens_no_subscription(directory):
    """The web process never subscribes to results: that connection could hang a request."""
    with redis_server(directory) as (_, url):
        parts = Parts(directory, url)
        with parts.web(), client(url) as redis:
            assert [parts.send().status for _ in range(5)] == [202] * 5
            commands = redis.info("commandstats")
            assert "cmdstat_lpush" in commands
            assert not {"cmdstat_subscribe", "cmdstat_psubscribe"} & set(commands)


@contextlib.contextmanager
def client(url):
    import redis

    with redis.Redis.from_url(url, decode_responses=True) as connection:
        yield connection


@contextlib.contextmanager
def away(program, directory, port, way, back):
    """The server is silent or gone; afterwards it is back until `back` closes."""
    if way == "stopped":
        with paused(program):
            yield
        return
    program.stop()
    yield
    back.enter_context(redis_server(directory, port=port))
