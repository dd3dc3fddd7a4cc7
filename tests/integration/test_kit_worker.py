"""The kit in a real Celery worker: whatever ends a task, it is told once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from followthrough.metrics.exposition import expose
from tests.support import redis_server, running, wait_for
from tests.support.collector import collector
from tests.support.kit_worker import LOSING, TRACE, Worker, start

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("kit")
    with (
        redis_server(folder) as (_redis, url),
        collector() as spans,
        start(folder, url, spans.endpoint) as (program, state),
    ):
        yield Worker(program, url, state, spans)


def test_success_is_one_line_one_count_and_one_span(worker: Worker) -> None:
    task_id = worker.send("kit.add", 2, 3)
    line = worker.end(task_id)
    assert line["event"] == "task.succeeded"
    assert (line["task"], line["outcome"], line["service"]) == ("kit.add", "success", "kit")
    assert line["trace_id"] == TRACE
    assert 0 <= line["duration"] < 5
    spans = wait_for(lambda: worker.spans_of(task_id), "the task's span")
    assert [span.name for span in spans] == ["process kit.add"]
    assert spans[0].trace_id.hex() == TRACE
    assert spans[0].span_id.hex() == line["span_id"]


def test_failure_is_one_line_with_its_traceback_one_count_and_one_alert(worker: Worker) -> None:
    task_id = worker.send("kit.fail")
    line = worker.end(task_id)
    assert (line["event"], line["error_type"]) == ("task.failed", "ValueError")
    assert (line["exception"]["type"], line["exception"]["message"]) == ("ValueError", "it broke")
    assert line["exception"]["frames"][-1]["function"] == "fail"
    wait_for(lambda: worker.counted("kit.fail") == {("failure", "ValueError"): 1}, "the count")
    (alert,) = wait_for(lambda: worker.alerts(task_id), "the alert is written")
    assert alert["trace_id"] == TRACE


def test_retry_is_one_line_for_each_attempt(worker: Worker) -> None:
    task_id = worker.send("kit.retry")
    worker.end(task_id, count=2)
    # The other pool process may be done with the next attempt before this one says so.
    found = {line["event"]: line.get("error_type") for line in worker.ends(task_id)}
    assert found == {"task.retried": "KeyError", "task.succeeded": None}
    wait_for(
        lambda: worker.counted("kit.retry") == {("retry", "KeyError"): 1, ("success", ""): 1},
        "the count",
    )


@pytest.mark.parametrize(
    ("task", "event", "outcome"),
    [
        ("kit.ignore", "task.ignored", ("ignored", "")),
        ("kit.reject", "task.rejected", ("rejected", "ValueError")),
        ("kit.kill", "task.lost", ("lost", "WorkerLostError")),
        ("kit.exit", "task.lost", ("lost", "WorkerLostError")),
        ("kit.soft", "task.failed", ("failure", "SoftTimeLimitExceeded")),
        ("kit.caught", "task.succeeded", ("success", "")),
        ("kit.hard", "task.failed", ("failure", "TimeLimitExceeded")),
    ],
)
def test_each_end_is_one_line_and_one_count(
    worker: Worker, task: str, event: str, outcome: tuple[str, str]
) -> None:
    """Also ends that the task's own process can't tell, and those that Celery tells twice."""
    task_id = worker.send(task)
    line = worker.end(task_id)
    assert (line["event"], line["task"], line["trace_id"]) == (event, task, TRACE)
    assert line["duration"] is not None
    wait_for(lambda: worker.counted(task) == {outcome: 1}, "the count")
    if task in ("kit.kill", "kit.hard"):
        wait_for(lambda: worker.alerts(task_id), "the alert is written")
        assert len(worker.alerts(task_id)) == 1


@pytest.mark.parametrize(
    ("task", "event", "outcome"),
    [
        ("kit.requeued", "task.requeued", ("requeued", "WorkerLostError")),
        ("kit.resent", "task.retried", ("retry", "WorkerLostError")),
    ],
)
def test_a_killed_task_that_runs_again_is_one_line_for_each_attempt(
    worker: Worker, task: str, event: str, outcome: tuple[str, str]
) -> None:
    """Celery has no signal for the first: the message is put back in its queue."""
    task_id = worker.send(task)
    worker.end(task_id, count=2)
    assert {line["event"] for line in worker.ends(task_id)} == {event, "task.succeeded"}
    assert {line["trace_id"] for line in worker.ends(task_id)} == {TRACE}
    wait_for(lambda: worker.counted(task) == {outcome: 1, ("success", ""): 1}, "the count")


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_a_revoked_running_task_is_one_line_and_one_count(worker: Worker, signal: str) -> None:
    before = worker.counted("kit.wait").get(("terminated", "Terminated"), 0)
    task_id = worker.send("kit.wait")
    result = worker.client.AsyncResult(task_id)
    inspect = worker.client.control.inspect(timeout=0.5)
    wait_for(lambda: task_id in json.dumps(inspect.active() or {}), "the task runs")
    result.revoke(terminate=True, signal=signal)
    line = worker.end(task_id)
    assert (line["event"], line["trace_id"]) == ("task.terminated", TRACE)
    wait_for(
        lambda: worker.counted("kit.wait") == {("terminated", "Terminated"): before + 1},
        "the count",
    )


def test_a_task_revoked_before_it_starts_is_one_line(worker: Worker) -> None:
    task_id = "revoked-before-start"
    assert worker.client.control.revoke(task_id, reply=True, timeout=2)
    worker.send("kit.ignore", task_id=task_id)
    line = worker.end(task_id)
    assert (line["event"], line["outcome"]) == ("task.revoked", "revoked")


def test_an_expired_task_is_one_line(worker: Worker) -> None:
    task_id = worker.send("kit.ignore", expires=-5)
    line = worker.end(task_id)
    assert (line["event"], line["outcome"]) == ("task.expired", "expired")


def test_an_unregistered_task_is_one_line_and_counted_without_its_name(worker: Worker) -> None:
    task_id = worker.send("kit.nobody_knows_me")
    line = worker.end(task_id)
    assert (line["event"], line["error_type"]) == ("task.unregistered", "NotRegistered")
    assert line["task"] == "kit.nobody_knows_me"
    assert worker.counted("kit.nobody_knows_me") == {}
    assert worker.counted("__unknown__")[("unregistered", "NotRegistered")] >= 1


def test_celerys_own_lines_about_ends_are_kept_out(worker: Worker) -> None:
    worker.end(worker.send("kit.fail"))
    worker.end(worker.send("kit.kill"))
    events = [line["event"] for line in worker.lines()]
    assert not [e for e in events if "succeeded in" in e or "raised unexpected" in e]
    assert not [e for e in events if "Task handler raised error" in e or e.endswith("received")]


def test_known_tasks_are_counted_from_zero(worker: Worker) -> None:
    text = expose(worker.state).decode()
    zero = 'celery_task_results_total{error_type="",outcome="failure",task="kit.never_sent"}'
    assert zero.replace("kit.never_sent", "kit.add") + " 0.0" in text


def test_nothing_went_wrong_inside_telemetry(worker: Worker) -> None:
    worker.end(worker.send("kit.add", 1, 1))
    assert "telemetry.error" not in worker.program.output()
    assert "Signal handler" not in worker.program.output()


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_other_pools_tell_each_end_once(tmp_path: Path, pool: str) -> None:
    """There the worker's main process runs the tasks, and hears of their ends a second time."""
    with (
        redis_server(tmp_path) as (_redis, url),
        collector() as spans,
        start(tmp_path, url, spans.endpoint, "-P", pool) as (program, state),
    ):
        other = Worker(program, url, state, spans)
        for task, event in [
            ("kit.fail", "task.failed"),
            ("kit.reject", "task.rejected"),
            ("kit.ignore", "task.ignored"),
            ("kit.add", "task.succeeded"),
        ]:
            task_id = other.send(task, *((1, 2) if task == "kit.add" else ()))
            assert other.end(task_id)["event"] == event
            wait_for(lambda task_id=task_id: other.spans_of(task_id), "the task's span")
            assert len(other.spans_of(task_id)) == 1
        assert other.counted("kit.fail") == {("failure", "ValueError"): 1}
        assert program.stop() == 0
        assert "telemetry.error" not in program.output()


# Written as if its author had never heard of the kit.
HOST = """
import os
from celery import Celery
app = Celery("host", broker=os.environ["KIT_BROKER"], backend=os.environ["KIT_BROKER"])
app.conf.broker_connection_retry_on_startup = True

@app.task(name="kit.add")
def add(a, b):
    return a + b

@app.task(name="host.fail")
def fail():
    raise ValueError("it broke")
"""


def test_a_worker_under_the_launcher_is_told_without_a_line_of_code(tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(HOST)
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    argv = [str(launcher), sys.executable, "-m", "celery", "--workdir", str(tmp_path)]
    argv += ["-A", "host", "worker", "-c", "1"]
    with redis_server(tmp_path) as (_redis, url), collector() as spans:
        env = {
            "KIT_BROKER": url,
            "FOLLOWTHROUGH_STATE_DIR": str(tmp_path / "state"),
            "FOLLOWTHROUGH_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint,
            "OTEL_SERVICE_NAME": "host",
        }
        with running(argv, tmp_path / "worker.log", env) as program:
            wait_for(lambda: "ready." in program.output(), "worker is ready", LOSING)
            host = Worker(program, url, tmp_path / "state", spans)
            task_id = host.send("host.fail")
            assert host.end(task_id)["event"] == "task.failed"
            assert host.counted("host.fail") == {("failure", "ValueError"): 1}
            wait_for(lambda: host.spans_of(task_id), "the task's span")
            assert len(host.spans_of(task_id)) == 1
            assert spans.services == {"host"}
