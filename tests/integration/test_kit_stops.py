"""What a task's process, or its worker, was ended by: told once, and by its span alike."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import redis_server, wait_for
from tests.support.collector import collector
from tests.support.kit_worker import LOSING, TRACE, Worker, start

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with begun(tmp_path_factory.mktemp("kit")) as worker:
        yield worker


@contextlib.contextmanager
def begun(folder: Path, *options: str) -> Iterator[Worker]:
    with (
        redis_server(folder) as (_redis, url),
        collector() as spans,
        start(folder, url, spans.endpoint, *options, FOLLOWTHROUGH_STRICT="1") as (program, state),
    ):
        yield Worker(program, url, state, spans)


def processed(worker: Worker, task_id: str, count: int = 1) -> list[dict[str, Any]]:
    """What the process spans of a task say, in the order of their starts."""

    def found() -> list[Any]:
        spans = [s for s in worker.spans_of(task_id) if s.name.startswith("process ")]
        assert len(spans) == count
        return sorted(spans, key=lambda span: span.start_time_unix_nano)

    return [_said(span) for span in wait_for(found, f"{count} spans of {task_id}", LOSING)]


def _said(span: Any) -> dict[str, Any]:
    attributes = {a.key: a.value.string_value or a.value.bool_value for a in span.attributes}
    return {
        "outcome": attributes["celery.outcome"],
        "error": span.status.code == 2,
        "error_type": attributes.get("error.type"),
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "links": {link.span_id.hex() for link in span.links},
        "length": span.end_time_unix_nano - span.start_time_unix_nano,
        "redelivered": attributes.get("celery.redelivered", False),
    }


def alike(worker: Worker, task_id: str) -> dict[str, Any]:
    """The one end of a task, told by line and span in the same way."""
    line = worker.end(task_id)
    (span,) = processed(worker, task_id)
    assert span["trace"] == line["trace_id"] == TRACE
    assert (span["outcome"], span["error_type"]) == (line["outcome"], line.get("error_type"))
    return {**line, **span}


def test_a_task_revoked_while_it_waits_in_the_worker_has_a_span(worker: Worker) -> None:
    # It takes messages by now, else the task's time has come before it is received.
    worker.end(worker.send("kit.add", 1, 1))
    task_id = worker.send("kit.add", 1, 1, countdown=10)
    inspect = worker.client.control.inspect(timeout=0.5)
    wait_for(lambda: task_id in json.dumps(inspect.scheduled() or {}), "the worker has it", LOSING)
    worker.client.control.revoke(task_id, reply=True, timeout=2)
    told = alike(worker, task_id)
    assert (told["event"], told["length"], told["error"]) == ("task.revoked", 0, False)


def test_an_expired_task_has_a_span(worker: Worker) -> None:
    told = alike(worker, worker.send("kit.ignore", expires=-5))
    assert (told["event"], told["length"], told["error"]) == ("task.expired", 0, True)


def test_an_unregistered_task_has_a_span(worker: Worker) -> None:
    told = alike(worker, worker.send("kit.nobody_knows_me"))
    assert (told["event"], told["length"]) == ("task.unregistered", 0)
    assert told["error_type"] == "NotRegistered"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_a_task_revoked_while_it_runs_ends_its_own_span(worker: Worker, number: str) -> None:
    task_id = worker.send("kit.wait")
    inspect = worker.client.control.inspect(timeout=0.5)
    wait_for(lambda: task_id in json.dumps(inspect.active() or {}), "the task runs", LOSING)
    worker.client.AsyncResult(task_id).revoke(terminate=True, signal=number)
    told = alike(worker, task_id)
    assert (told["event"], told["error"]) == ("task.terminated", True)
    assert told["length"] > 0


@pytest.mark.parametrize(
    ("task", "outcome", "error_type"),
    [
        ("kit.hard", "failure", "TimeLimitExceeded"),
        ("kit.kill", "lost", "WorkerLostError"),
        ("kit.kill_late", "lost", "WorkerLostError"),
        ("kit.segfault", "lost", "WorkerLostError"),
        ("kit.exhaust", "lost", "WorkerLostError"),
        ("kit.exit", "lost", "WorkerLostError"),
        ("kit.memory", "failure", "MemoryError"),
    ],
)
def test_what_ended_a_task_is_said_alike(
    worker: Worker, task: str, outcome: str, error_type: str
) -> None:
    told = alike(worker, worker.send(task))
    assert (told["outcome"], told["error_type"], told["error"]) == (outcome, error_type, True)
    assert worker.counted(task) == {(outcome, error_type): 1}


@pytest.mark.parametrize(("task", "first"), [("kit.requeued", "requeued"), ("kit.resent", "retry")])
def test_a_task_that_runs_again_is_linked_to_the_attempt_that_was_lost(
    worker: Worker, task: str, first: str
) -> None:
    task_id = worker.send(task)
    worker.end(task_id, count=2)
    lost, again = processed(worker, task_id, count=2)
    assert (lost["outcome"], lost["error"]) == (first, False)
    assert (again["outcome"], again["trace"]) == ("success", TRACE)
    assert lost["id"] in again["links"]
    assert again["redelivered"] == (task == "kit.requeued")


@pytest.mark.parametrize(("task", "outcome"), [("kit.wait", "lost"), ("kit.wait_late", "requeued")])
def test_a_cold_stop_tells_what_ran_and_leaves_the_rest_in_the_queue(
    tmp_path: Path, task: str, outcome: str
) -> None:
    """Celery calls the first a retry, and nobody sends it again."""
    options = ("-c", "1", "--prefetch-multiplier", "4")
    with begun(tmp_path, *options) as worker, redis.Redis.from_url(worker.url) as queue:
        task_id = worker.send(task)
        inspect = worker.client.control.inspect(timeout=0.5)
        wait_for(lambda: task_id in json.dumps(inspect.active() or {}), "the task runs", LOSING)
        waiting = worker.send("kit.add", 1, 1, countdown=600)
        wait_for(lambda: waiting in json.dumps(inspect.scheduled() or {}), "it is held", LOSING)
        worker.program.signal(signal.SIGQUIT)
        worker.program.wait(30)
        wait_for(lambda: worker.ends(task_id), "it is told")
        (line,) = worker.ends(task_id)
        assert (line["outcome"], line["error_type"]) == (outcome, "WorkerShutdown")
        (span,) = processed(worker, task_id)
        assert (span["outcome"], span["error_type"]) == (outcome, "WorkerShutdown")
        back = {waiting} | ({task_id} if outcome == "requeued" else set())
        items = lambda: {json.loads(i)["headers"]["id"] for i in queue.lrange("celery", 0, -1)}  # noqa: E731
        wait_for(lambda: items() == back, "the rest is back in the queue")


def test_a_warm_stop_waits_for_what_runs_and_leaves_the_rest_in_the_queue(tmp_path: Path) -> None:
    options = ("-c", "1", "--prefetch-multiplier", "4")
    with begun(tmp_path, *options) as worker, redis.Redis.from_url(worker.url) as queue:
        task_id = worker.send("kit.soon")
        inspect = worker.client.control.inspect(timeout=0.5)
        wait_for(lambda: task_id in json.dumps(inspect.active() or {}), "the task runs", LOSING)
        waiting = worker.send("kit.add", 1, 1, countdown=600)
        wait_for(lambda: waiting in json.dumps(inspect.scheduled() or {}), "it is held", LOSING)
        assert worker.program.stop() == 0
        (line,) = worker.ends(task_id)
        assert line["outcome"] == "success"
        assert processed(worker, task_id)[0]["outcome"] == "success"
        assert worker.ends(waiting) == []
        (item,) = queue.lrange("celery", 0, -1)
        assert json.loads(item)["headers"]["id"] == waiting
