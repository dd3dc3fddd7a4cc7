"""The service's own way of taking messages from Redis: garbage and killed workers there too."""

from __future__ import annotations

import contextlib
import json
import time

import psutil
import pytest
import redis
from celery import Celery

from app import queues
from app.services.broker import PatientAMQP
from followthrough import quarantine
from followthrough.recorder import held
from tests.support import free_port, redis_server, wait_for
from tests.support.collector import collector
from tests.support.parts import Parts

pytestmark = pytest.mark.integration


@pytest.fixture
def parts(tmp_path):
    with redis_server(tmp_path) as (_redis, url), collector() as spans:
        env = {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
        }
        yield Parts(tmp_path / "parts", url, env)


@pytest.fixture(autouse=True)
def directory(tmp_path):
    (tmp_path / "parts").mkdir()


@contextlib.contextmanager
def client(parts):
    with redis.Redis.from_url(parts.redis) as client:
        yield client


def publisher(parts):
    return Celery(broker=parts.redis, amqp=PatientAMQP, task_default_queue=queues.DEFAULT)


JOBS = ("--include", "tests.support.jobs")
GARBAGE = (b"x", b"5", b"[" * 5000, b'{"properties": 5}', b'{"properties": {"delivery_info": 5}}')


def test_garbage_is_put_aside_and_the_worker_goes_on(parts):
    with parts.worker("-c", "1") as program, client(parts) as broker:
        for item in GARBAGE:
            broker.lpush(queues.DEFAULT, item)
        sent = publisher(parts).send_task("tests.nobody")
        wait_for(lambda: sent.id in program.output(), "the worker goes on", 30)
        items = quarantine.items(parts.directory / "state" / "telemetry")
        assert {item.payload for item in items} >= {b"x", b"5", b"[" * 5000}
        assert len(items) == len(GARBAGE)
        assert {item.queue for item in items} == {queues.DEFAULT}
        wait_for(lambda: broker.hlen("unacked") == 0, "all are acknowledged")
        assert program.popen.poll() is None


def test_what_a_killed_worker_held_goes_to_another_one_at_once(parts):
    state = parts.directory / "state" / "telemetry"
    with client(parts) as broker, parts.worker("-c", "1", *JOBS, name="a") as first:
        app = publisher(parts)
        ids = [app.send_task("test.step", countdown=600).id for _ in range(3)]
        wait_for(lambda: broker.hlen("unacked") == 3, "the worker holds them")
        processes = [psutil.Process(first.pid)]
        processes += processes[0].children(recursive=True)
        processes[0].kill()
        psutil.wait_procs(processes, 10)
        begun = time.monotonic()
        wait_for(lambda: broker.llen(queues.DEFAULT) == 3, "they are back", 5)
        assert time.monotonic() - begun < 5
        with parts.worker("-c", "1", *JOBS, name="b"):
            wait_for(lambda: broker.hlen("unacked") == 3, "another one has them")
            items = [json.loads(note)[0] for note in broker.hvals("unacked")]
            assert {item["headers"]["id"] for item in items} == set(ids)
    assert len(list(held.folder(state).glob("*.claimed"))) == 0
