"""What the kit costs in a worker's main process, and how long a kill there can lose a message.

The hooks are timed where kombu and Celery call them, without a broker and a pool: all that they do
for a task there, from the popped item to its acknowledgement. Each figure is CPU time in a process
of its own, the best of several rounds.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from celery import Celery
from celery.worker.consumer import consumer
from kombu import Connection, Consumer, Queue
from kombu.transport import redis, virtual

import followthrough
from tests.support import python, redis_server, running, wait_for

TASKS, ROUNDS = 5000, 7
HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
HOST = """
import os, followthrough
from celery import Celery
from celery.worker.consumer import consumer
if os.environ["KIT"]:
    followthrough.configure("bench")
    followthrough.instrument_celery()
app = Celery("host", broker=os.environ["BROKER"])
@app.task(name="bench.noop", acks_late=True)
def noop():
    pass
"""


class Channel:
    """As much of a channel of Redis as a message needs."""

    unacked_key, unacked_index_key, global_keyprefix = "unacked", "unacked_index", ""
    codecs, decode_body = virtual.Channel.codecs, virtual.Channel.decode_body
    no_ack_consumers, do_restore, closed = None, False, False

    def __init__(self) -> None:
        client = SimpleNamespace(as_uri=lambda **_: "redis://h", ssl=None, transport_options={})
        self.connection = SimpleNamespace(client=client)
        self.qos = virtual.QoS(self)

    def basic_ack(self, tag: str, **_: Any) -> None:
        self.qos.ack(tag)


class Worker(consumer.Consumer):
    """As much of a worker's consumer as it takes to handle a message."""

    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)

    def call_soon_ack(self, settle: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        settle(*args, **kwargs)


def worker(app: Celery, received: list[Any]) -> Worker:
    return Worker(
        app=app,
        strategies={},
        on_task_message=set(),
        restart_count=0,
        _maximum_prefetch_restored=True,
        hostname="h",
        connection_errors=(OSError,),
        event_dispatcher=None,
        timer=SimpleNamespace(call_at=None),
        apply_eta_task=None,
        disable_rate_limits=True,
        task_buckets={},
        on_task_request=received.append,
        _limit_task=None,
        _limit_post_eta=None,
        pool=SimpleNamespace(apply_async=lambda *_, **__: None),
        controller=SimpleNamespace(state=SimpleNamespace(revoked=set())),
    )


def taker(app: Celery) -> Callable[[str], Any]:
    """What a worker does with an item that it has popped; gives the request."""
    received: list[Any] = []
    channel, taking = Channel(), worker(app, received)
    taking.strategies["bench.noop"] = app.tasks["bench.noop"].start_strategy(app, taking)
    handle = taking.create_task_handler()

    def on_message(raw: Any) -> None:
        message = virtual.Message(raw, channel=channel)
        channel.qos.append(message, message.delivery_tag)
        handle(message)

    transport = object.__new__(redis.Transport)
    transport._callbacks = {"celery": on_message}

    def take(item: str) -> Any:
        transport._deliver(redis.loads(item), "celery")
        return received.pop()

    return take


def item() -> str:
    task_id = str(uuid.uuid4())
    properties = {
        "correlation_id": task_id,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": 0,
    }
    headers = {"task": "bench.noop", "id": task_id, "root_id": task_id, "retries": 0, **HEADERS}
    return json.dumps(
        {
            "body": base64.b64encode(b"[[], {}, {}]").decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": properties,
        }
    )


def noop() -> None:
    pass


def microseconds(*, kit: bool) -> float:
    """CPU time a task, the best of some rounds."""
    app = Celery("bench", broker="redis://127.0.0.1:1/0")
    app.task(name="bench.noop", acks_late=True)(noop)
    if kit:
        followthrough.configure("bench")
        followthrough.instrument_celery()
        from followthrough.celery import supervise  # noqa: PLC0415

        supervise.on_worker_init(sender=SimpleNamespace(app=app))
    logging.disable(logging.INFO)
    take = taker(app)
    return min(_round(take) for _ in range(ROUNDS))


def _round(take: Callable[[str], Any]) -> float:
    items = [item() for _ in range(TASKS)]
    begin = time.process_time()
    for each in items:
        request = take(each)
        request.execute_using_pool(SimpleNamespace(apply_async=lambda *_, **__: None))
        request.on_accepted(os.getpid(), time.monotonic())
        request.on_success((False, None, 0.1))
    return (time.process_time() - begin) / TASKS * 1e6


def window(url: str) -> tuple[float, float]:
    """Microseconds from kombu's popped item to its note in Redis: median and 99th percentile."""
    queue, seen, popped = Queue("window"), [], [0.0]
    append = redis.QoS.append

    def noted(qos: Any, message: Any, tag: str) -> None:
        append(qos, message, tag)
        seen.append((time.perf_counter() - popped[0]) * 1e6)

    with Connection(url) as connection, connection.Producer() as producer:
        for _ in range(TASKS):
            producer.publish("x", routing_key="window", declare=[queue])
        channel = connection.channel()
        parse = channel.client.parse_response

        def parsed(*args: Any, **kwargs: Any) -> Any:
            answer = parse(*args, **kwargs)
            popped[0] = time.perf_counter()
            return answer

        channel.client.parse_response, redis.QoS.append = parsed, noted
        Consumer(channel, [queue], callbacks=[lambda _, message: message.ack()]).consume()
        while len(seen) < TASKS:
            connection.drain_events(timeout=5)
    redis.QoS.append = append
    seen.sort()
    return seen[TASKS // 2], seen[TASKS * 99 // 100]


def mebibytes(directory: Path, url: str, *, kit: bool) -> float:
    """What a worker's main process needs more for 5,000 prefetched tasks with an ETA."""
    (directory / "host.py").write_text(HOST)
    argv = python("-m", "celery", "--workdir", str(directory), "-A", "host", "worker", "-c", "1")
    env = {"BROKER": url, "KIT": "1" * kit, "FOLLOWTHROUGH_START_AGENT": "false"}
    env["FOLLOWTHROUGH_STATE_DIR"] = str(directory / "state")
    client = Celery("client", broker=url)
    with running(argv, directory / "log", env) as worker, Connection(url) as connection:
        server = connection.default_channel.client
        server.flushall()
        before = _held(client, server, worker.pid, 10)
        return (_held(client, server, worker.pid, TASKS) - before) / 1024**2


def _held(client: Celery, server: Any, pid: int, more: int) -> float:
    target = server.hlen("unacked") + more
    for _ in range(more):
        client.send_task("bench.noop", countdown=3600, headers=HEADERS)
    wait_for(lambda: server.hlen("unacked") == target, "the worker holds them", 120)
    return float(psutil.Process(pid).memory_full_info().uss)


def _apart(*arguments: str) -> float:
    """A figure from a process of its own."""
    with tempfile.TemporaryDirectory() as state:
        env = {**os.environ, "FOLLOWTHROUGH_STATE_DIR": state, "FOLLOWTHROUGH_START_AGENT": "0"}
        argv = [sys.executable, "-m", "bench.mainprocess", *arguments]
        return float(subprocess.run(argv, env=env, check=True, capture_output=True).stdout)  # noqa: S603


def main() -> None:
    bare, ours = _apart("bare"), _apart("kit")
    print(f"main process, CPU a task: bare {bare:.0f} us, with the kit {ours:.0f} us", end="")
    print(f" ({ours - bare:+.0f})")
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as (_, url):
        memory = [mebibytes(Path(directory), url, kit=kit) for kit in (False, True)]
        print(f"{TASKS} tasks with an ETA: bare {memory[0]:.1f} MiB, the kit {memory[1]:.1f} MiB")
        median, late = window(url)
        print(f"popped and not yet noted: median {median:.0f} us, 99 % within {late:.0f} us")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(microseconds(kit=sys.argv[1] == "kit"))
    else:
        main()
