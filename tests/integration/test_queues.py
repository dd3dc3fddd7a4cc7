"""Queues beside each other: what goes where, who waits for what, and which names are refused."""

from __future__ import annotations

import contextlib
import uuid

import pytest
import redis
from celery.exceptions import QueueNotFound
from kombu import Connection, Consumer, Queue

from app import create_app, queues, registry, settings
from app.services import redelivery
from tests.support import Program, python, redis_server, wait_for
from tests.support.jobs import hold, noted, step
from tests.support.parts import Parts
from tests.support.service import redis_binaries

pytestmark = pytest.mark.integration

JOBS = ("--include", "tests.support.jobs")


on_each_server = pytest.mark.parametrize(
    "url", redis_binaries(), ids=lambda p: p.rsplit("/", 1)[-1], indirect=True
)


@pytest.fixture
def url(request, tmp_path):
    redelivery.install()
    binary = getattr(request, "param", "embedded")
    with redis_server(tmp_path, None if binary == "embedded" else binary) as (_, url):
        yield url


@pytest.fixture
def parts(url, tmp_path):
    parts = Parts(tmp_path, url)
    with create_app(settings.load({"APP_ENV": "testing", **parts.env})).app_context():
        yield parts


@pytest.fixture
def look(url):
    with redis.Redis.from_url(url, decode_responses=True) as look:
        yield look


def publish(directory, queue, task=step):
    return registry.publish(task.s(directory=str(directory)).set(queue=queue)).id


def test_a_flood_in_one_queue_delays_no_other(parts, tmp_path, look):
    """A thousand messages wait in one queue: those of the others run as if there were none."""
    first = publish(tmp_path, "default")
    raw = look.lindex("default", 0)
    look.lpush("default", *[raw.replace(first, str(uuid.uuid4())) for _ in range(999)])
    others = [publish(tmp_path, name) for name in queues.NAMES if name != "default"]
    with parts.worker("-c", "1", *JOBS):
        wait_for(lambda: set(others) <= set(noted(tmp_path, "ran")), "the others ran")
    assert max(noted(tmp_path, "ran").index(each) for each in others) < 20


def test_a_dedicated_worker_leaves_the_others_alone(parts, tmp_path, look):
    """`-Q`: it consumes what it names and nothing else."""
    with parts.worker("-c", "1", "-Q", "reports,email", *JOBS):
        left = publish(tmp_path, "low_priority")
        taken = [publish(tmp_path, "reports"), publish(tmp_path, "email")]
        wait_for(lambda: sorted(noted(tmp_path, "ran")) == sorted(taken), "both ran")
        assert look.llen("low_priority") == 1
    with parts.worker("-c", "1", "-Q", "low_priority", *JOBS, name="low"):
        wait_for(lambda: left in noted(tmp_path, "ran"), "the last ran")


def test_what_a_killed_process_held_stays_in_its_queue(parts, tmp_path, look):
    """A worker of another queue doesn't get it."""
    with parts.worker("-c", "1", "-Q", "reports", *JOBS) as worker:
        publish(tmp_path, "reports", hold)
        wait_for(lambda: noted(tmp_path, "held"), "it runs")
        worker.signal(15)
        wait_for(lambda: "Warm shutdown" in worker.output(), "the worker stops")
        worker.signal(3)
        worker.wait()
    assert {name: look.llen(name) for name in queues.NAMES if look.llen(name)} == {"reports": 1}


def test_a_message_to_no_queue_leaves_nothing_in_redis(parts, tmp_path, look):
    """It is refused before anything is sent, and its id is not remembered."""
    publish(tmp_path, "default")
    before = sorted(look.keys())
    with pytest.raises(QueueNotFound, match="the queues are email, high_priority, reports"):
        publish(tmp_path, "nosuch")
    assert sorted(look.keys()) == before
    assert look.llen("default") == 1


@pytest.mark.parametrize(("target", "option"), [("app.worker", "-Q"), ("run.celery", "-X")])
def test_a_worker_for_no_queue_does_not_start(parts, tmp_path, look, target, option):
    """One line that names the queues there are, and exit code 2."""
    argv = python("-m", "celery", "-A", target, "worker", option, "email,nosuch")
    program = Program(argv, tmp_path / "refused.log", parts.env)
    assert program.wait() == 2
    names = "email, high_priority, reports, default, low_priority"
    assert program.output() == f"{option}: no queue is named 'nosuch'; the queues are {names}\n"
    assert look.keys() == []


def test_a_running_worker_takes_on_no_unknown_queue(parts, look):
    """`celery control add_consumer`, which Flower sends too."""
    control = ("-m", "celery", "-A", "app.worker", "control", "add_consumer")
    with parts.worker("-P", "solo", "-Q", "email") as worker:
        refused = answer(parts, *control, "nosuch")
        assert "no queue is named 'nosuch'; the queues are email" in refused
        assert "add consumer reports" in answer(parts, *control, "reports")
        wait_for(lambda: "Started consuming from reports" in worker.output(), "it consumes")
    assert not [key for key in look.scan_iter() if "nosuch" in key]


def answer(parts, *argv):
    program = Program(python(*argv), parts.directory / f"{uuid.uuid4()}.log", parts.env)
    program.wait()
    return program.output()


@on_each_server
def test_a_message_that_rings_no_bell_is_found_soon(parts, tmp_path, url, look):
    """A program that publishes with plain Celery: its message waits a second at most."""
    code = (
        "import sys; from celery import Celery; app = Celery(broker=sys.argv[1]);"
        "app.send_task('test.step', kwargs={'directory': sys.argv[2]}, queue='reports')"
    )
    with parts.worker("-c", "1", *JOBS):
        wait_for(lambda: look.info("commandstats").get("cmdstat_xread"), "it waits for the bells")
        Program(python("-c", code, url, str(tmp_path)), tmp_path / "plain.log").wait()
        assert not look.exists("reports.bell")
        wait_for(lambda: noted(tmp_path, "ran"), "it ran", 2)


@contextlib.contextmanager
def waiting(url, prefix=""):
    """A connection that waits for two queues, and a function that handles what arrives."""
    options = {"global_keyprefix": prefix, "priority_steps": [0]}
    with Connection(url, transport_options=options) as connection:
        messages = []
        two = [Queue(name, routing_key=name) for name in ("one", "two")]
        with Consumer(connection.channel(), two, on_message=messages.append):

            def drain(seconds):
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=seconds)
                return messages

            # The first look finds nothing, so that the next one waits.
            drain(0.1)
            yield connection, drain


@on_each_server
@pytest.mark.parametrize("prefix", ["", "mine:"])
def test_a_message_given_back_rings(url, look, prefix):
    """Whoever waits for the queue has it at once, also where all keys have a prefix."""
    with waiting(url, prefix) as (connection, drain):
        publisher = connection.clone()
        with publisher, publisher.Producer() as producer:
            producer.publish("a", routing_key="two")
        (message,) = wait_for(lambda: drain(0.1), "the message")
        assert look.exists(f"{prefix}two.bell")
        assert 0 < look.ttl(f"{prefix}two.bell") <= 60
        stood = last(look, f"{prefix}two.bell")
        drain(0.1)
        message.reject(requeue=True)
        assert last(look, f"{prefix}two.bell") != stood
        wait_for(lambda: len(drain(0.1)) == 2, "it is there again", 0.5)
        assert all(key.startswith(prefix) for key in look.scan_iter())


def last(look, bell):
    ((entry, _),) = look.xrevrange(bell)
    return entry


@on_each_server
def test_a_batch_rings_too(url, look):
    """kombu can send many messages in one round trip."""
    with Connection(url) as connection, connection.Producer() as producer:
        with producer.batch(max_size=10):
            for text in ("a", "b"):
                producer.publish(text, routing_key="two")
            assert not look.exists("two", "two.bell")
        assert (look.llen("two"), look.xlen("two.bell")) == (2, 1)


def test_the_bell_of_a_reply_goes_with_it(parts, look):
    """Each `celery inspect` has a queue of its own, of which nothing is left."""
    with parts.worker("-P", "solo"):
        answer(parts, "-m", "celery", "-A", "app.worker", "inspect", "ping")
        bells = [key for key in look.keys("*.bell") if "reply" in key]
        assert bells
        assert all(0 < look.ttl(bell) <= 60 for bell in bells)
