"""The shape of traces: what is a child of what, and linked to what, in a real worker."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support import free_port, python, redis_server, running, wait_for
from tests.support.collector import Collector, collector

pytestmark = pytest.mark.integration

ENDING = 30.0
FAN_OUT = 6


class Shapes:
    """A worker, and one trace after another in it."""

    def __init__(self, url: str, spans: Collector) -> None:
        self.client = Celery("client", broker=url, backend=url)
        self.spans = spans

    def run(self, task: str, *args: Any) -> str:
        """Send a task in a trace of its own; gives that trace's id."""
        trace = secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        self.client.send_task(task, args, headers=headers)
        return trace

    def of(self, trace: str) -> list[Any]:
        return [span for span in list(self.spans.spans) if span.trace_id.hex() == trace]

    def shape(self, name: str, ended: Callable[[list[Any]], bool]) -> Trace:
        """The spans of a shape's trace, once it has `ended`."""
        trace = self.run("shape.start", name)
        wait_for(lambda: ended(self.of(trace)), f"{name} has ended", ENDING)
        return Trace(self.of(trace))


class Trace:
    def __init__(self, spans: list[Any]) -> None:
        self.spans = spans
        self.by_id = {span.span_id: span for span in spans}

    def named(self, name: str) -> list[Any]:
        return sorted(
            (span for span in self.spans if span.name == name),
            key=lambda span: span.start_time_unix_nano,
        )

    def one(self, name: str) -> Any:
        (found,) = self.named(name)
        return found

    def parent(self, span: Any) -> Any:
        return self.by_id.get(span.parent_span_id)

    def links(self, span: Any) -> set[bytes]:
        return {link.span_id for link in span.links}


def said(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def count(name: str, number: int) -> Callable[[list[Any]], bool]:
    return lambda spans: sum(span.name == name for span in spans) >= number


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shapes]:
    folder = tmp_path_factory.mktemp("shapes")
    with redis_server(folder) as (_redis, url), collector() as spans:
        env = {
            "KIT_BROKER": url,
            "FOLLOWTHROUGH_STATE_DIR": str(folder / "state"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
            "FOLLOWTHROUGH_LOG_FORMAT": "json",
            "FOLLOWTHROUGH_FAN_OUT": str(FAN_OUT),
            "FOLLOWTHROUGH_STRICT": "1",
        }
        argv = python("-m", "celery", "-A", "tests.support.kit_shapes:celery", "worker")
        argv += ["-c", "2", "--without-gossip", "--without-mingle", "-l", "info"]
        with running(argv, folder / "worker.log", env) as program:
            wait_for(lambda: "ready." in program.output(), "worker is ready", ENDING)
            yield Shapes(url, spans)
            assert "telemetry.error" not in program.output()
            assert "Signal handler" not in program.output()


def test_a_task_is_a_child_of_its_send_span_and_says_what_it_is(shapes: Shapes) -> None:
    trace = shapes.shape("arguments", count("process shape.leaf", 1))
    send, process = trace.one("send shape.leaf"), trace.one("process shape.leaf")
    assert trace.parent(process) is send
    assert trace.parent(send) is trace.one("process shape.start")
    assert (send.kind, process.kind) == (Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER)
    both = {
        "messaging.system": "redis",
        "messaging.destination.name": "celery",
        "celery.task_name": "shape.leaf",
        "messaging.message.id": said(send)["messaging.message.id"],
        "celery.parent_id": said(trace.one("process shape.start"))["messaging.message.id"],
    }
    assert both.items() <= said(send).items()
    assert both.items() <= said(process).items()
    assert (
        said(send)["messaging.operation.name"] == said(send)["messaging.operation.type"] == "send"
    )
    own = {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "celery.outcome": "success",
        "celery.pool": "prefork",
        "celery.arg.name": "ada",
        "celery.arg.password": "********",
    }
    assert own.items() <= said(process).items()
    assert "celery.retries" not in said(process)


def test_a_tasks_time_is_split_and_none_of_it_negative(shapes: Shapes) -> None:
    found = said(shapes.shape("eta", count("process shape.leaf", 1)).one("process shape.leaf"))
    times = {key.removeprefix("celery.time."): v for key, v in found.items() if ".time." in key}
    assert set(times) == {"published", "broker", "eta", "prefetched", "running", "storing"}
    assert 0.5 < times["eta"] < 1.5
    assert all(value >= 0 for value in times.values())
    assert sum(times[key] for key in ("broker", "prefetched", "running", "storing")) < 5
    assert 0 < times["storing"] < 1


def test_attempts_are_children_of_the_first_send_and_linked_to_their_own(shapes: Shapes) -> None:
    trace = shapes.shape("retry", count("process shape.retried", 3))
    sends, attempts = trace.named("send shape.retried"), trace.named("process shape.retried")
    assert [said(each).get("celery.retries", 0) for each in attempts] == [0, 1, 2]
    assert [trace.parent(each) for each in attempts] == [sends[0]] * 3
    assert [trace.parent(each) for each in sends[1:]] == attempts[:2]
    assert [trace.links(each) for each in attempts] == [
        set(),
        {sends[1].span_id, attempts[0].span_id},
        {sends[2].span_id, attempts[1].span_id},
    ]
    first = attempts[0]
    assert first.status.code == Status.STATUS_CODE_UNSET
    assert said(first)["celery.outcome"] == "retry"
    assert said(first)["error.type"] == "KeyError"
    assert "not yet" in said(first)["celery.retry.reason"]


def test_a_chain_goes_on_in_one_trace(shapes: Shapes) -> None:
    trace = shapes.shape("chain", count("process shape.leaf", 3))
    sends, steps = trace.named("send shape.leaf"), trace.named("process shape.leaf")
    assert [trace.parent(each) for each in steps] == sends
    assert [trace.parent(each) for each in sends[1:]] == steps[:2]
    (root,) = {said(each)["celery.root_id"] for each in steps}
    assert root == said(trace.one("process shape.start"))["messaging.message.id"]


def test_a_group_is_one_trace_with_its_id(shapes: Shapes) -> None:
    trace = shapes.shape("group", count("process shape.leaf", 3))
    assert len({said(each)["celery.group_id"] for each in trace.named("process shape.leaf")}) == 1


@pytest.mark.parametrize(("shape", "tasks"), [("chord", 4), ("added", 3)])
def test_a_chords_body_is_linked_to_all_its_header_tasks(
    shapes: Shapes, shape: str, tasks: int
) -> None:
    trace = shapes.shape(shape, count("process shape.body", 1))
    body, send = trace.one("process shape.body"), trace.one("send shape.body")
    headers = [*trace.named("process shape.leaf"), *trace.named("process shape.joined")]
    assert len(headers) == tasks
    assert trace.links(send) == trace.links(body) == {each.span_id for each in headers}
    assert trace.parent(body) is send
    assert trace.parent(send) in headers
    ids = {said(each).get("celery.chord") for each in headers}
    assert ids == {said(body)["messaging.message.id"]}


def test_a_chords_body_that_never_runs_says_so(shapes: Shapes) -> None:
    trace = shapes.shape("broken chord", count("process shape.body", 1))
    body = trace.one("process shape.body")
    assert said(body)["celery.outcome"] == "abandoned"
    assert said(body)["error.type"] == "ChordError"
    assert body.status.code == Status.STATUS_CODE_ERROR
    assert trace.named("send shape.body") == []


def test_what_replaces_a_task_is_in_its_trace(shapes: Shapes) -> None:
    trace = shapes.shape("replace", count("process shape.leaf", 1))
    before, after = trace.one("process shape.replaced"), trace.one("process shape.leaf")
    assert said(before)["celery.outcome"] == "ignored"
    assert trace.parent(trace.parent(after)) is before
    assert said(before)["messaging.message.id"] == said(after)["messaging.message.id"]


def test_callbacks_are_in_the_trace(shapes: Shapes) -> None:
    trace = shapes.shape("callback", count("process shape.leaf", 2))
    first, second = trace.named("process shape.leaf")
    assert trace.parent(trace.parent(second)) is first


def test_errbacks_are_in_the_trace_also_one_that_is_run_inline(shapes: Shapes) -> None:
    trace = shapes.shape("errbacks", count("process shape.errback", 1))
    broken = trace.one("process shape.broken")
    assert trace.parent(trace.one("send shape.errback")) is broken
    inline = trace.one("process shape.inline")
    assert trace.parent(inline) is broken
    assert said(inline)["celery.outcome"] == "success"


def test_an_error_is_recorded_without_its_secrets(shapes: Shapes) -> None:
    trace = shapes.shape("errbacks", count("process shape.broken", 1))
    broken = trace.one("process shape.broken")
    (event,) = broken.events
    shown = {a.key: a.value.string_value for a in event.attributes}
    assert (event.name, shown["exception.type"]) == ("exception", "ValueError")
    assert 'raise ValueError("token' in shown["exception.stacktrace"]
    assert "abcdefgh12" not in str(broken)
    assert broken.status.message == "token=********"


def test_an_expected_error_is_none(shapes: Shapes) -> None:
    found = shapes.shape("expected", count("process shape.expected", 1))
    span = found.one("process shape.expected")
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert (said(span)["celery.outcome"], said(span)["error.type"]) == ("failure", "KeyError")


def test_a_result_that_cannot_be_encoded_is_a_failure(shapes: Shapes) -> None:
    found = shapes.shape("unencodable", count("process shape.unencodable", 1))
    span = found.one("process shape.unencodable")
    assert (said(span)["celery.outcome"], said(span)["error.type"]) == ("failure", "EncodeError")
    assert span.status.code == Status.STATUS_CODE_ERROR


def test_starmap_and_eager_tasks_are_in_the_trace(shapes: Shapes) -> None:
    trace = shapes.shape("starmap", count("process celery.starmap", 1))
    assert trace.parent(trace.one("send celery.starmap")) is trace.one("process shape.start")
    eager = shapes.run("shape.eager")
    wait_for(lambda: count("process shape.leaf", 1)(shapes.of(eager)), "the eager task", ENDING)
    wait_for(lambda: count("process shape.eager", 1)(shapes.of(eager)), "its caller", ENDING)
    inner, outer = (Trace(shapes.of(eager)).one(f"process shape.{n}") for n in ("leaf", "eager"))
    assert inner.parent_span_id == outer.span_id
    assert said(inner)["celery.eager"]


def test_beyond_a_fan_out_children_begin_traces_of_their_own(shapes: Shapes) -> None:
    trace = shapes.shape("fan", count("process shape.leaf", FAN_OUT))
    start = trace.one("process shape.start")

    def apart() -> list[Any]:
        every = list(shapes.spans.spans)
        return [s for s in every if any(li.span_id == start.span_id for li in s.links)]

    wait_for(lambda: len(apart()) == 2, "the others", ENDING)
    assert len(trace.named("send shape.leaf")) == FAN_OUT
    for send in apart():
        assert (send.name, send.parent_span_id) == ("send shape.leaf", b"")
        assert send.trace_id != start.trace_id
