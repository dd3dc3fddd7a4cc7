"""A message is always in Redis: in its queue, or noted as taken by a worker that knows it."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
import redis
from celery import Celery
from kombu import Consumer, Queue

from app import queues
from app.services import redelivery
from app.services.broker import PatientAMQP
from tests.support import free_port, redis_server, wait_for
from tests.support.jobs import noted
from tests.support.parts import Parts
from tests.support.service import redis_binaries

pytestmark = pytest.mark.integration

QUEUE = Queue("jobs", routing_key="jobs")


class Broker:
    """A Redis of our own, a connection of ours to it, and one to look at it."""

    def __init__(self, directory, binary):
        self.directory, self.binary, self.port = directory, binary, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.server = contextlib.ExitStack()
        self.start()

    def start(self):
        running = redis_server(self.directory, self.binary, self.port)
        self.program, _ = self.server.enter_context(running)

    def stop(self):
        self.server.close()

    def restart(self):
        self.stop()
        self.start()

    @contextlib.contextmanager
    def away(self, way):
        """Silent or gone, and then back."""
        if way == "gone":
            self.stop()
            yield
            self.start()
            return
        self.program.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.program.signal(signal.SIGCONT)

    def look(self):
        """How many messages wait, and how many are noted as taken."""
        with redis.Redis.from_url(self.url) as client:
            return client.llen("jobs"), client.hlen("unacked")


@pytest.fixture(params=redis_binaries(), ids=lambda p: p.rsplit("/", 1)[-1])
def broker(request, tmp_path):
    redelivery.install()
    broker = Broker(tmp_path, None if request.param == "embedded" else request.param)
    yield broker
    broker.stop()


@contextlib.contextmanager
def connected(broker):
    connection = PatientAMQP.Connection(broker.url)
    try:
        yield connection
    finally:
        with contextlib.suppress(Exception):
            connection.release()


@contextlib.contextmanager
def consuming(connection):
    """The messages that arrive, and a function that waits for them."""
    messages = []
    channel = connection.channel()
    consumer = Consumer(channel, [QUEUE], callbacks=[lambda _body, m: messages.append(m)])
    consumer.consume()

    def arrived(count):
        def enough():
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.2)
            return len(messages) >= count

        wait_for(enough, f"{count} messages")
        return messages

    yield channel, arrived


def publisher(broker):
    """A publisher to the queues of the service."""
    return Celery(
        broker=broker.url,
        backend=broker.url,
        amqp=PatientAMQP,
        task_default_queue=queues.DEFAULT,
    )


def publish(broker, *texts):
    with connected(broker) as connection, connection.Producer() as producer:
        for text in texts:
            producer.publish(text, routing_key="jobs", declare=[QUEUE])


def test_a_message_is_noted_until_it_is_acknowledged(broker):
    publish(broker, "a")
    with connected(broker) as connection, consuming(connection) as (_, arrived):
        (message,) = arrived(1)
        assert message.payload == "a"
        assert broker.look() == (0, 1)
        message.ack()
        assert broker.look() == (0, 0)


def test_what_redis_took_out_without_its_answer_arriving_comes_again(broker):
    """The connection breaks between the taking and the answer: the message is given back."""
    publish(broker, "a")
    with connected(broker) as connection, consuming(connection) as (channel, _):
        connection.connection.cycle.on_poll_start()
        wait_for(lambda: broker.look() == (0, 1), "the message is taken")
        channel.client.connection.disconnect()
        channel.close()
    with connected(broker) as connection, consuming(connection) as (_, arrived):
        assert [message.payload for message in arrived(1)] == ["a"]


def test_what_ended_while_redis_was_away_does_not_come_again(broker):
    """The acknowledgement is kept, and given when the process consumes again."""
    publish(broker, "a")
    with connected(broker) as connection, consuming(connection) as (_, arrived):
        (message,) = arrived(1)
        broker.stop()
        message.ack()
    broker.start()
    assert broker.look() == (0, 1)
    with connected(broker) as connection, consuming(connection):
        assert broker.look() == (0, 0)


def test_what_was_not_begun_while_redis_was_away_comes_again(broker):
    """A closed connection gives back what nobody works on, at the latest when it is open again."""
    publish(broker, "a", "b")
    with connected(broker) as connection, consuming(connection) as (channel, arrived):
        arrived(2)
        broker.stop()
        with contextlib.suppress(*channel.connection_errors):
            channel.close()
    broker.start()
    with connected(broker) as connection, consuming(connection) as (_, arrived):
        assert sorted(message.payload for message in arrived(2)) == ["a", "b"]


def test_a_rejected_message_goes_or_comes_again(broker):
    publish(broker, "a")
    with connected(broker) as connection, consuming(connection) as (_, arrived):
        arrived(1)[0].reject(requeue=True)
        arrived(2)[1].reject()
        assert broker.look() == (0, 0)


def test_a_requeued_message_is_the_last_in_line(broker):
    """A task that gives its message back each time doesn't keep the others from their turn."""
    publish(broker, "a", "b")
    with connected(broker) as connection, consuming(connection) as (channel, arrived):
        channel.basic_qos(0, 1, False)
        arrived(1)[0].reject(requeue=True)
        arrived(2)[1].reject(requeue=True)
        assert [message.payload for message in arrived(3)] == ["a", "b", "a"]


def test_several_queues_are_all_served(broker):
    """With more than one queue none waits for another's messages."""
    with connected(broker) as connection, connection.Producer() as producer:
        queues = [Queue(name, routing_key=name) for name in ("one", "two", "three")]
        for queue in queues:
            producer.publish(queue.name, routing_key=queue.name, declare=[queue])
        seen = []
        with connection.Consumer(queues, callbacks=[lambda body, m: (seen.append(body), m.ack())]):

            def all_seen():
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=1)
                return sorted(seen) == ["one", "three", "two"]

            wait_for(all_seen, "all queues", 5)


def test_restarts_under_full_load_lose_nothing(broker, tmp_path):
    """Four restarts while a worker is busy taking: each task runs, and soon."""
    parts = Parts(tmp_path, broker.url)
    celery = publisher(broker)
    ids = []
    with parts.worker("-c", "2", "--include", "tests.support.jobs"):
        for _ in range(4):
            ids += [
                celery.send_task("test.step", kwargs={"directory": str(tmp_path)}).id
                for _ in range(40)
            ]
            broker.restart()
            wait_for(lambda: not set(ids) - set(noted(tmp_path, "ran")), "all ran", 10)  # noqa: B023
    celery.close()


def test_a_full_redis_still_gives_what_it_has(broker, tmp_path):
    """Queued tasks run, the worker waits without haste, and goes on when there is memory again."""
    parts = Parts(tmp_path, broker.url)
    with (
        publisher(broker) as celery,
        redis.Redis.from_url(broker.url) as client,
        parts.worker("-c", "2", "--include", "tests.support.jobs") as worker,
    ):

        def send(name, ignore_result=True):
            job = {"directory": str(tmp_path)}
            return celery.send_task(name, kwargs=job, ignore_result=ignore_result).id

        ids = [send("test.hold") for _ in range(2)]
        wait_for(lambda: len(noted(tmp_path, "held")) == 2, "the worker is busy")
        ids += [send("test.step") for _ in range(10)]
        ids += [send("test.step", ignore_result=False)]
        client.config_set("maxmemory", 1)
        (tmp_path / "go").touch()
        wait_for(lambda: set(ids) == set(noted(tmp_path, "ran")), "all ran", 10)
        refused, begin = client.info("stats")["total_error_replies"], client.time()[0]
        wait_for(lambda: client.time()[0] - begin >= 4, "four seconds")
        assert client.info("stats")["total_error_replies"] - refused <= 40
        assert celery.AsyncResult(ids[-1]).state == "PENDING"
        client.config_set("maxmemory", 0)
        last = send("test.step")
        wait_for(lambda: last in noted(tmp_path, "ran"), "the worker goes on", 5)
        wait_for(lambda: celery.AsyncResult(ids[-1]).state == "SUCCESS", "its result is stored", 5)
        wait_for(lambda: broker.look() == (0, 0), "all are acknowledged")
        assert sorted([*ids, last]) == sorted(noted(tmp_path, "ran"))
        assert worker.popen.poll() is None


@pytest.mark.parametrize(("way", "deadline"), [("gone", 8), ("stopped", 25)])
def test_a_worker_can_be_stopped_while_redis_is_away(broker, tmp_path, way, deadline):
    """A pool process is killed meanwhile: the worker doesn't wait for Redis, the task stays."""
    parts = Parts(tmp_path, broker.url)
    with (
        publisher(broker) as celery,
        parts.worker("-c", "1", "--include", "tests.support.jobs") as worker,
    ):
        celery.send_task("test.hold", kwargs={"directory": str(tmp_path)})
        (pid,) = wait_for(lambda: noted(tmp_path, "held"), "the task runs")
        with broker.away(way):
            os.kill(int(pid), signal.SIGKILL)
            # While Redis is gone the worker looks for it, and for its pool only as it ends.
            seen = "exited with" if way == "stopped" else "Connection to broker lost"
            wait_for(lambda: seen in worker.output(), "the loss is seen")
            worker.signal(signal.SIGTERM)
            worker.wait(deadline)
        wait_for(lambda: sum(broker.look()) == 1, "the task is still there")


def test_an_idle_worker_waits_instead_of_asking(broker, tmp_path):
    """It asks Redis about once a second for all of the five queues."""
    parts = Parts(tmp_path, broker.url)
    with parts.worker("-P", "solo"), redis.Redis.from_url(broker.url) as client:

        def asked():
            return client.info("commandstats").get("cmdstat_xread", {"calls": 0})["calls"]

        wait_for(asked, "the worker asks")
        begin, before = client.time()[0], asked()
        wait_for(lambda: client.time()[0] - begin >= 4, "four seconds")
        assert asked() - before <= 6
