"""Each end of a task is one line and one count, in whatever process it is known."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery, _state, signals
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import OperationalError
from opentelemetry import trace

import followthrough
from followthrough.alerts import keep, spool
from followthrough.celery import execute, publish, supervise
from followthrough.testing import Captured, capture

TRACEPARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
RESULTS = "celery_task_results_total"


@pytest.fixture
def celery(told: Captured) -> Iterator[Celery]:
    app = Celery("unit", broker="memory://localhost", set_as_current=True)
    app.conf.task_always_eager = True
    followthrough.instrument_celery()

    @app.task(shared=False, name="unit.add")
    def add(a: int, b: int) -> int:
        return a + b

    @app.task(shared=False, name="unit.fail", critical=True)
    def fail() -> None:
        raise ValueError("it broke")

    @app.task(shared=False, name="unit.ignore")
    def ignore() -> None:
        raise Ignore

    @app.task(shared=False, name="unit.reject")
    def reject() -> None:
        raise Reject(OSError("no"), requeue=False)

    @app.task(shared=False, name="unit.retry", bind=True, max_retries=3)
    def retry(self: Any) -> str:
        if self.request.retries < 2:
            raise self.retry(countdown=0, exc=KeyError("k"))
        return "done"

    @app.task(shared=False, name="unit.outer")
    def outer() -> None:
        add.delay(1, 2)

    yield app
    followthrough.uninstrument_celery()
    app.close()


def ends(told: Captured) -> list[tuple[str, str]]:
    return [(line["event"], line["task"]) for line in told.lines if "outcome" in line]


@pytest.mark.parametrize(
    ("name", "event", "labels"),
    [
        ("add", "task.succeeded", {"outcome": "success", "error_type": ""}),
        ("fail", "task.failed", {"outcome": "failure", "error_type": "ValueError"}),
        ("ignore", "task.ignored", {"outcome": "ignored", "error_type": ""}),
        ("reject", "task.rejected", {"outcome": "rejected", "error_type": "OSError"}),
    ],
)
def test_an_end_is_one_line_one_count_and_marked_on_its_span(
    told: Captured, celery: Celery, name: str, event: str, labels: dict[str, str]
) -> None:
    args = (1, 2) if name == "add" else ()
    celery.tasks[f"unit.{name}"].apply(args, task_id="id-1")
    assert ends(told) == [(event, f"unit.{name}")]
    (line,) = told.events(event)
    span = told.span(f"process unit.{name}")
    assert (line["task_id"], line["outcome"]) == ("id-1", labels["outcome"])
    assert line["span_id"] == trace.format_span_id(span.context.span_id)
    assert span.attributes["celery.outcome"] == labels["outcome"]
    assert told.metric(RESULTS, task=f"unit.{name}", **labels) == 1
    assert told.metric(RESULTS) == 1


def test_an_eager_retry_ends_each_attempt_once(told: Captured, celery: Celery) -> None:
    celery.tasks["unit.retry"].apply()
    found = sorted(event for event, _ in ends(told))
    assert found == ["task.retried", "task.retried", "task.succeeded"]
    assert execute._running == {}


def test_a_task_inside_a_task_leaves_the_outer_ones_context(told: Captured, celery: Celery) -> None:
    celery.tasks["unit.outer"].apply(task_id="outer-1")
    assert ends(told) == [("task.succeeded", "unit.add"), ("task.succeeded", "unit.outer")]
    assert told.lines[-1]["task_id"] == "outer-1"
    logging.getLogger("x").warning("after")
    assert "task_id" not in told.lines[-1]


def test_a_critical_failure_leaves_one_alert(told: Captured, celery: Celery) -> None:
    celery.tasks["unit.fail"].apply(task_id="id-1")
    (path,) = (told.settings.state_dir / "alerts").glob("*.json")
    alert = json.loads(path.read_text())
    assert (alert["task"], alert["task_id"], alert["outcome"]) == ("unit.fail", "id-1", "failure")
    assert alert["trace_id"] == told.events("task.failed")[0]["trace_id"]
    assert alert["service"] == "test"


def test_a_pattern_makes_a_task_critical(tmp_path: Any, celery: Celery) -> None:
    with capture(tmp_path / "other", critical_tasks=("unit.rej*",)) as told:
        followthrough.instrument_celery()
        celery.tasks["unit.reject"].apply()
        celery.tasks["unit.ignore"].apply()
        assert len(list((told.settings.state_dir / "alerts").glob("*.json"))) == 1


def test_a_task_that_is_not_critical_leaves_none(told: Captured, celery: Celery) -> None:
    celery.tasks["unit.reject"].apply()
    assert not (told.settings.state_dir / "alerts").exists()


def test_alerts_that_a_full_spool_drops_are_counted_and_said_once_a_minute(
    told: Captured, celery: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "LIMIT", 0)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("followthrough.alerts.keep.time.monotonic", lambda: clock.now)
    monkeypatch.setattr(keep._Current, "silent_until", 0.0)
    for _ in range(3):
        celery.tasks["unit.fail"].apply()
    (line,) = told.events("alert.dropped")
    assert (line["level"], line["reason"], line["dropped"]) == ("error", "full", 1)
    clock.now += 60.0
    celery.tasks["unit.fail"].apply()
    assert [line["dropped"] for line in told.events("alert.dropped")] == [1, 3]
    assert told.metric("alerts_dropped_total", reason="full") == 4


def test_an_alert_that_the_disk_does_not_take_is_counted(
    told: Captured, celery: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("followthrough.guard.strict", False)
    monkeypatch.setattr(spool.disk, "write", lambda *_, **__: Path("/proc/none/x").touch())
    celery.tasks["unit.fail"].apply()
    assert told.metric("alerts_dropped_total", reason="unwritable") == 1
    assert told.metric("telemetry_errors_total", where="celery.task_postrun") == 1


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Have Celery tell something of a request, as its methods do in a worker's main process."""
    return lambda request: monkeypatch.setattr(supervise.speaking, "request", request)


def main_process_failure(celery: Celery, error: BaseException, task_id: str = "id-1") -> None:
    task = celery.tasks["unit.fail"]
    signals.task_failure.send(sender=task, task_id=task_id, exception=error, einfo=None)


def test_a_lost_child_is_told_by_the_main_process(
    told: Captured, celery: Celery, speak: Callable[[Any], None]
) -> None:
    speak(_Request("id-1", TRACEPARENT))
    main_process_failure(celery, WorkerLostError("signal 9"))
    (line,) = told.events("task.lost")
    assert (line["task"], line["error_type"]) == ("unit.fail", "WorkerLostError")
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert 1 < line["duration"] < 100
    assert len(list((told.settings.state_dir / "alerts").glob("*.json"))) == 1


class _Request:
    def __init__(self, task_id: str, headers: dict[str, str]) -> None:
        import time

        self.id = task_id
        self.request_dict = headers
        self.time_start = time.time() - 2
        self.worker_pid = None


def test_a_hard_time_limit_is_told_once_for_each_run(
    told: Captured, celery: Celery, speak: Callable[[Any], None]
) -> None:
    """Celery says it twice; a redelivered task is another request of the same id."""
    for _ in range(2):
        speak(_Request("timed-1", TRACEPARENT))
        for _ in range(2):
            main_process_failure(celery, TimeLimitExceeded(60), "timed-1")
    assert len(told.events("task.failed")) == 2


def test_a_failure_of_what_runs_here_is_left_to_its_end(told: Captured, celery: Celery) -> None:
    """In a pool of threads both signals are sent in one process."""
    task = celery.tasks["unit.fail"]
    task.request_stack.push(Context(hostname="h"))
    try:
        execute.on_prerun("here-1", task)
        main_process_failure(celery, ValueError("x"), "here-1")
        assert ends(told) == []
        execute.on_postrun("here-1", "FAILURE", ValueError("x"))
    finally:
        task.request_stack.pop()
    assert ends(told) == [("task.failed", "unit.fail")]


def test_attempts_that_overlap_have_each_its_own_end(told: Captured, celery: Celery) -> None:
    """A pool of threads begins the next attempt before the one that sent it has ended."""
    task = celery.tasks["unit.fail"]
    turns = [threading.Event() for _ in range(3)]

    def attempt(retries: int, state: str, error: BaseException) -> None:
        _state._task_stack.push(task)
        task.request_stack.push(Context(id="twice-1", retries=retries, is_eager=True))
        execute.on_prerun("twice-1", task)
        turns[retries].set()
        turns[retries + 1].wait(10)
        execute.on_postrun("twice-1", state, error)
        turns[2].set()

    first = threading.Thread(target=attempt, args=(0, "RETRY", Retry(exc=KeyError("k"))))
    first.start()
    turns[0].wait(10)
    second = threading.Thread(target=attempt, args=(1, "FAILURE", ValueError("x")))
    second.start()
    for thread in (first, second):
        thread.join(10)
    found = {span.attributes.get("celery.retries", 0): span.attributes for span in told.spans}
    assert {key: had["celery.outcome"] for key, had in found.items()} == {0: "retry", 1: "failure"}


def test_a_rejection_is_left_to_the_process_it_ran_in(told: Captured, celery: Celery) -> None:
    main_process_failure(celery, Reject("no", requeue=False))
    assert ends(told) == []


def test_a_revocation_is_told_once(
    told: Captured, celery: Celery, speak: Callable[[Any], None]
) -> None:
    request = SimpleNamespace(id="revoked-1", **TRACEPARENT)
    speak(_Request("revoked-1", TRACEPARENT))
    for _ in range(2):
        signals.task_revoked.send(
            sender=celery.tasks["unit.add"],
            request=request,
            terminated=True,
            signum=15,
            expired=False,
        )
    (line,) = told.events("task.terminated")
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert told.metric(RESULTS, outcome="terminated") == 1


def test_a_message_without_an_id_is_told_as_undecodable(told: Captured, celery: Celery) -> None:
    message = SimpleNamespace(headers=None)
    signals.task_rejected.send(sender=None, message=message, exc=ValueError("bad"))
    (line,) = told.events("task.undecodable")
    assert (line["task"], line["error_type"]) == ("__unknown__", "ValueError")


def test_a_published_task_is_counted_and_a_line_at_debug(told: Captured, celery: Celery) -> None:
    celery.conf.task_always_eager = False
    result = celery.tasks["unit.add"].apply_async((1, 2), queue="fast")
    (line,) = told.events("task.published")
    assert (line["task"], line["task_id"], line["queue"]) == ("unit.add", result.id, "fast")
    assert line["level"] == "debug"
    assert told.metric("celery_tasks_published_total", task="unit.add", queue="fast") == 1


def test_a_failed_publish_ends_its_span_and_leaks_nothing(
    told: Captured, celery: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stock instrumentor leaves the span open, and parent of all that comes after."""

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("the broker is down")

    celery.conf.task_always_eager = False
    monkeypatch.setattr("kombu.messaging.Producer.publish", refuse)
    with pytest.raises(OperationalError):
        celery.tasks["unit.add"].delay(1, 2)
    assert not trace.get_current_span().get_span_context().is_valid
    span = told.span("send unit.add")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert told.metric("celery_tasks_published_total") == 0
    assert publish._sending.get() is None


def test_instrumenting_twice_tells_once(told: Captured, celery: Celery) -> None:
    followthrough.instrument_celery()
    celery.tasks["unit.add"].apply((1, 2))
    assert len(told.events("task.succeeded")) == 1
    assert len(told.spans) == 1


def test_uninstrumented_tells_nothing(told: Captured, celery: Celery) -> None:
    followthrough.uninstrument_celery()
    celery.tasks["unit.add"].apply((1, 2))
    assert ends(told) == []
    assert told.spans == []
    followthrough.uninstrument_celery()


def test_celerys_own_lines_come_back_when_uninstrumented(told: Captured, celery: Celery) -> None:
    celery.tasks["unit.add"].apply((1, 2))
    assert not [line for line in told.lines if "succeeded in" in line["event"]]
    followthrough.uninstrument_celery()
    celery.tasks["unit.add"].apply((1, 2))
    assert [line for line in told.lines if "succeeded in" in line["event"]]


def test_a_task_works_when_telemetry_does_not(
    told: Captured, celery: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("followthrough.guard.strict", False)
    monkeypatch.setattr("followthrough.metrics.ends.Tasks.add", lambda *_: 1 / 0)
    assert celery.tasks["unit.add"].apply((1, 2)).get() == 3
    assert told.metric("telemetry_errors_total", where="celery.task_postrun") == 1


def test_the_worker_keeps_the_log_chain(told: Captured, celery: Celery) -> None:
    """Celery puts its own handlers on the root logger, unless its signal has a listener."""
    assert celery.log.setup_logging_subsystem() is None or signals.setup_logging.receivers


@pytest.mark.parametrize("in_pool", [True, False])
def test_only_a_pools_process_is_watched_over(
    monkeypatch: pytest.MonkeyPatch, in_pool: bool
) -> None:
    """The solo pool sends the signal too, in the main process: nobody notes why that one died."""
    watched: list[float] = []
    monkeypatch.setattr(supervise.tracing, "is_watched", watched.append)
    monkeypatch.setattr(supervise, "in_pool_process", lambda: in_pool)
    supervise.on_child_start()
    assert bool(watched) == in_pool
