"""How an attempt ends by what Celery's own tracer says, where a worker's process runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery
from celery.app.trace import build_tracer
from opentelemetry import trace

import followthrough
from followthrough import logs
from followthrough.celery import execute, interrupted, publish
from followthrough.celery.interrupted import finish
from followthrough.testing import Captured
from tests.support.lines import alone


class Refusing:
    """A result backend that is down for some of what it is asked."""

    def __init__(self, app: Celery, *down: str) -> None:
        self._stock = app.backend
        self._down = down

    def __getattr__(self, name: str) -> Any:
        if name in self._down:
            return self._refuse
        return getattr(self._stock, name)

    def _refuse(self, *_: Any, **__: Any) -> None:
        raise ConnectionError("the result backend is down")


@pytest.fixture
def app(told: Captured) -> Iterator[Celery]:
    app = Celery("run", broker="memory://", backend="cache+memory://", set_as_current=True)
    followthrough.instrument_celery()

    @app.task(shared=False, name="run.work", bind=True, max_retries=5)
    def work(self: Any, how: str = "") -> int:
        if how == "retry":
            raise self.retry(exc=KeyError("k"))
        if how:
            raise ValueError(how)
        return 1

    @app.task(shared=False, name="run.expected", throws=(ValueError,))
    def expected() -> None:
        raise ValueError("as I said")

    yield app
    followthrough.uninstrument_celery()
    app.close()


def run(app: Celery, name: str, *args: Any, task_id: str = "id-1", **headers: Any) -> Any:
    """As a pool's process does it."""
    task = app.tasks[name]
    tracer = build_tracer(name, task, app=app)
    info = {"exchange": "", "routing_key": "fast", "redelivered": False}
    request = {"id": task_id, "task": name, "hostname": "w@host", "delivery_info": info, **headers}
    return tracer(task_id, args, {}, request)


def test_the_line_of_a_usual_task_costs_the_chain_nothing(
    told: Captured, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alone():
        for _ in range(2):
            run(app, "run.work")
            monkeypatch.setattr(logs, "line", lambda *_, **__: 1 / 0)
    assert [each["attempt"] for each in told.events("task.succeeded")] == [1, 1]


def test_a_result_that_the_backend_does_not_take_is_not_stored(told: Captured, app: Celery) -> None:
    app.tasks["run.work"].backend = Refusing(app, "mark_as_done")
    with pytest.warns(RuntimeWarning):
        run(app, "run.work")
    (line,) = [line for line in told.lines if "outcome" in line]
    assert (line["event"], line["error_type"]) == ("task.not_stored", "ConnectionError")
    span = told.span("process run.work")
    assert span.attributes["celery.outcome"] == "not_stored"
    assert span.status.status_code is trace.StatusCode.ERROR
    assert told.metric("celery_task_results_total") == 1


@pytest.mark.parametrize(
    ("how", "down", "event", "error"),
    [
        ("it broke", "mark_as_failure", "task.failed", "ValueError"),
        ("retry", "mark_as_retry", "task.retried", "KeyError"),
    ],
)
def test_an_end_that_the_backend_does_not_take_is_told_as_what_it_was(
    told: Captured, app: Celery, how: str, down: str, event: str, error: str
) -> None:
    app.tasks["run.work"].backend = Refusing(app, down, "mark_as_failure")
    with pytest.warns(RuntimeWarning), pytest.raises(ConnectionError):
        run(app, "run.work", how, is_eager=False, called_directly=False)
    (line,) = [line for line in told.lines if "outcome" in line]
    assert (line["event"], line["error_type"]) == (event, error)


def test_an_eager_task_in_a_callers_except_block_is_judged_by_its_own_end(
    told: Captured, app: Celery
) -> None:
    try:
        Path("/nowhere").stat()
    except OSError:
        assert app.tasks["run.work"].apply().get() == 1
    assert [line["outcome"] for line in told.lines if "outcome" in line] == ["success"]


def test_an_expected_error_is_told_quietly(told: Captured, app: Celery) -> None:
    run(app, "run.expected")
    (line,) = told.events("task.failed")
    assert (line["level"], line["outcome"], line["error_type"]) == ("info", "failure", "ValueError")
    assert told.span("process run.expected").status.status_code is trace.StatusCode.UNSET


def test_a_redelivered_task_says_so_and_its_lines_where_it_is(told: Captured, app: Celery) -> None:
    info = {"routing_key": "fast", "redelivered": True, "priority": 3}
    run(app, "run.work", delivery_info=info, retries=2)
    found = told.span("process run.work").attributes
    assert found["celery.redelivered"] is True
    assert found["messaging.destination.name"] == "fast"
    assert (found["celery.priority"], found["celery.worker"]) == (3, "w@host")
    (line,) = told.events("task.succeeded")
    assert (line["queue"], line["attempt"], line["task"]) == ("fast", 3, "run.work")


def test_headers_that_nobody_sane_sends_break_nothing(told: Captured, app: Celery) -> None:
    broken = {"traceparent": "x" * 99, "followthrough": [1], "timelimit": 5, "root_id": {}}
    run(app, "run.work", eta={}, parent_id=7, **broken)
    assert told.span("process run.work").parent is None


def test_with_links_a_task_begins_a_trace_of_its_own(told: Captured, app: Celery) -> None:
    from followthrough.celery.instrumentor import CeleryInstrumentor

    CeleryInstrumentor().uninstrument()
    CeleryInstrumentor().instrument(use_span_links=True)
    run(app, "run.work", traceparent=f"00-{7:032x}-{8:016x}-01")
    span = told.span("process run.work")
    assert span.parent is None
    assert [link.context.span_id for link in span.links] == [8]


def test_nothing_is_current_once_a_task_has_ended(told: Captured, app: Celery) -> None:
    run(app, "run.work", "it broke")
    assert not trace.get_current_span().get_span_context().is_valid
    assert execute._running == {}


class Cut:
    """A hook that a soft time limit strikes in, the first time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise SoftTimeLimitExceeded


@pytest.mark.parametrize(("send_again", "times"), [(True, 1), (False, 0)])
def test_a_soft_time_limit_in_a_hook_is_given_to_the_task(
    monkeypatch: pytest.MonkeyPatch, send_again: bool, times: int
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(
        interrupted.threading,
        "Timer",
        lambda *args: said.append(args) or SimpleNamespace(start=lambda: None),
    )
    hook = Cut()
    finish(hook, send_again=send_again)
    assert (hook.calls, len(said)) == (2, times)


def test_a_soft_time_limit_at_the_start_leaves_one_span_and_one_context(
    told: Captured, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, stock = Cut(), execute.logs.around

    def once(*args: Any, **fields: Any) -> Any:
        cut()
        return stock(*args, **fields)

    monkeypatch.setattr(interrupted, "again", lambda: None)
    monkeypatch.setattr(execute.logs, "around", once)
    run(app, "run.work")
    assert cut.calls == 2
    assert len(told.events("task.succeeded")) == 1
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("where", ["start_below", "attach", "into_message"])
def test_a_soft_time_limit_while_a_task_sends_another_is_given_to_it_afterwards(
    told: Captured, app: Celery, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    cut, said = Cut(), []
    monkeypatch.setattr(interrupted, "again", lambda: said.append(1))
    owner: Any = {
        "start_below": publish.tracing,
        "attach": publish,
        "into_message": publish.propagation,
    }[where]
    stock = getattr(owner, where)

    def once(*args: Any, **kwargs: Any) -> Any:
        cut()
        return stock(*args, **kwargs)

    monkeypatch.setattr(owner, where, once)
    app.tasks["run.work"].delay()
    assert said == [1]
    assert [span.name for span in told.spans] == ["send run.work"]
    assert not trace.get_current_span().get_span_context().is_valid
