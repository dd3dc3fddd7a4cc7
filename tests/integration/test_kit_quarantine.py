"""Messages that no worker can run: put aside and told, and the worker lives."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection

from followthrough import quarantine
from followthrough.cli import main
from tests.support import redis_server, wait_for
from tests.support.collector import collector
from tests.support.kit_worker import HEADERS, LOSING, TRACE, Worker, start
from tests.support.rabbitmq import needs_rabbitmq, rabbitmq_server

pytestmark = pytest.mark.integration

QUEUE = "celery"
KEY = ("quarantined", "DecodeError")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("kit")
    with (
        redis_server(folder) as (_redis, url),
        collector() as spans,
        start(folder, url, spans.endpoint, FOLLOWTHROUGH_STRICT="1") as (program, state),
    ):
        yield Worker(program, url, state, spans)


@pytest.fixture
def queue(worker: Worker) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(worker.url) as client:
        yield client


def message(headers: Any, body: bytes, content_type: str = "application/json") -> str:
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-type": content_type,
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": {
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
            },
        }
    )


def quarantined(worker: Worker, queue: redis.Redis, item: str | bytes) -> quarantine.Item:
    """The one item that something in the queue became, with one line, count, span and alert."""
    before = {each.id for each in quarantine.items(worker.state)}
    lines = len([line for line in worker.lines() if line["event"] == "task.quarantined"])
    queue.lpush(QUEUE, item)
    after = worker.send("kit.add", 1, 1)
    wait_for(lambda: worker.ends(after), "the worker goes on", LOSING)
    (found,) = [each for each in quarantine.items(worker.state) if each.id not in before]
    told = [line for line in worker.lines() if line["event"] == "task.quarantined"]
    assert len(told) == lines + 1
    line = told[-1]
    assert (line["quarantine"], line["outcome"]) == (found.id, "quarantined")
    (span,) = wait_for(lambda: spans_with_id(worker, line["span_id"]), "the span")
    assert span.trace_id.hex() == line["trace_id"]
    assert span.name == f"process {line['task']}"
    assert span.start_time_unix_nano == span.end_time_unix_nano
    assert span.status.code == 2
    wait_for(lambda: queue.hlen("unacked") == 0, "it is acknowledged")
    assert worker.program.popen.poll() is None
    return found


def spans_with_id(worker: Worker, span_id: str) -> list[Any]:
    assert worker.spans is not None
    return [span for span in list(worker.spans.spans) if span.span_id.hex() == span_id]


@pytest.mark.parametrize("item", [b"x", b"5", b"[" * 100_000, b"{}", b"\xff\xfe", b"null", b'"a"'])
def test_garbage_in_the_queue_is_put_aside(worker: Worker, queue: redis.Redis, item: bytes) -> None:
    """Stock kombu has popped it, and the worker exits over it."""
    before = worker.counted("__unknown__").get(KEY, 0)
    found = quarantined(worker, queue, item)
    assert found.raw
    assert found.queue == QUEUE
    assert found.payload.decode() == item.decode(errors="replace")
    wait_for(lambda: worker.counted("__unknown__").get(KEY) == before + 1, "the count")


HEAD = {"task": "kit.add", "id": "bad-1", **HEADERS}


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (message(HEAD, b"[[1, 2], {}"), "DecodeError"),
        (message(HEAD, b"\xff\xff"), "DecodeError"),
        (message(HEAD, b"x", "application/x-python-serialize"), "ContentDisallowed"),
        (message({**HEAD, "compression": "application/x-gzip"}, b"no gzip"), "error"),
        (message({**HEAD, "eta": "some time"}, b"[[1, 2], {}, {}]"), "InvalidTaskError"),
        (message({"id": "bad-1", **HEADERS}, b'{"no": "task"}'), "InvalidTaskError"),
        (message({"task": "kit.add", **HEADERS}, b"[[1, 2], {}, {}]"), "KeyError"),
        (message(HEAD, b"[1, 2]"), "ValueError"),
        (message(HEAD, b"5"), "TypeError"),
        (message({**HEAD, "timelimit": "x"}, b"[[1, 2], {}, {}]"), "ValueError"),
    ],
)
def test_a_message_that_says_nonsense_is_put_aside(
    worker: Worker, queue: redis.Redis, item: str, error: str
) -> None:
    found = quarantined(worker, queue, item)
    assert found.error.startswith(error)
    assert not found.raw
    line = [line for line in worker.lines() if line["event"] == "task.quarantined"][-1]
    assert line["trace_id"] == TRACE
    assert line["error_type"] == error


def test_its_alert_is_written_and_celery_says_nothing_beside(
    worker: Worker, queue: redis.Redis
) -> None:
    headers = {**HEAD, "id": "alerted-1"}
    quarantined(worker, queue, message(headers, b"secret garbage"))
    assert len(worker.alerts("alerted-1")) == 1
    assert "secret garbage" not in worker.program.output()
    assert "telemetry.error" not in worker.program.output()


@pytest.mark.parametrize("task", ["kit.poison", "kit.venom"])
def test_a_task_that_takes_its_process_down_three_times_is_put_aside(
    worker: Worker, task: str
) -> None:
    task_id = worker.send(task)
    line = worker.end(task_id, count=3)
    back = "task.requeued" if task == "kit.poison" else "task.retried"
    assert [end["event"] for end in worker.ends(task_id)] == [back, back, "task.quarantined"]
    assert line["error_type"] == "Poisoned"
    (found,) = [item for item in quarantine.items(worker.state) if item.task_id == task_id]
    assert (found.reason, found.task, found.queue) == ("poison", task, QUEUE)
    assert worker.client.AsyncResult(task_id).state == "FAILURE"
    if task == "kit.poison":
        wait_for(lambda: worker.alerts(task_id), "its alert is kept")
    assert len(worker.alerts(task_id)) == (task == "kit.poison")


def test_a_memory_error_of_a_task_is_an_ordinary_failure(
    worker: Worker, queue: redis.Redis
) -> None:
    """Stock Celery's main process exits over it, and so does each worker that gets it next."""
    task_id = worker.send("kit.memory")
    line = worker.end(task_id)
    assert (line["event"], line["error_type"]) == ("task.failed", "MemoryError")
    wait_for(lambda: queue.hlen("unacked") == 0, "it is acknowledged")
    assert worker.program.popen.poll() is None


@needs_rabbitmq
def test_rabbitmq_s_messages_are_put_aside_and_sent_again_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        rabbitmq_server() as url,
        collector() as spans,
        start(tmp_path, url, spans.endpoint, FOLLOWTHROUGH_STRICT="1", KIT_BACKEND="rpc://") as (
            program,
            state,
        ),
    ):
        with Connection(url) as connection, connection.Producer() as producer:
            said = {"content_type": "application/json", "content_encoding": "utf-8"}
            producer.publish(b"[[1, 2], {}", routing_key=QUEUE, headers=HEAD, **said)
        (first,) = wait_for(lambda: quarantine.items(state), "it is put aside", LOSING)
        assert (first.task, first.queue, first.raw) == ("kit.add", QUEUE, False)
        monkeypatch.setenv("FOLLOWTHROUGH_STATE_DIR", str(state))
        assert main(["quarantine", "requeue", first.id, "--broker", url]) == 0
        (again,) = wait_for(
            lambda: [i for i in quarantine.items(state) if i.id != first.id], "it came again"
        )
        assert (again.task, again.error, again.queue) == (first.task, first.error, first.queue)
        bodies = [json.loads(item.payload)["body"] for item in (first, again)]
        assert bodies[0] == bodies[1]
        assert program.stop() == 0
        assert "telemetry.error" not in program.output()
