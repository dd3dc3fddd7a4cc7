"""What a killed process had under way is told as it would have told it, if nobody else has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from followthrough import names
from followthrough.agent import lost
from followthrough.agent.finisher import Finisher, finished
from followthrough.agent.shipper import Shipper
from followthrough.alerts import spool
from followthrough.recorder import encode, inflight, record
from followthrough.recorder.inflight import Cause, Watcher
from followthrough.recorder.pending import Pending
from followthrough.recorder.recorder import Recorder
from followthrough.recorder.shorten import shortened
from followthrough.testing import Captured, capture
from tests.unit.followthrough.agent.test_shipper import Sink

TASK = {
    names.CELERY_TASK: "pay",
    names.MESSAGING_MESSAGE_ID: "id-1",
    names.MESSAGING_DESTINATION: "money",
    names.CELERY_RETRIES: 2,
    names.CELERY_CRITICAL: True,
}
REQUEST = {names.HTTP_METHOD: "POST", names.HTTP_ROUTE: "/pay/<id>"}
PROVIDER = TracerProvider(resource=Resource.create({"service.name": "shop", "big": "x" * 3000}))


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Captured]:
    with capture(tmp_path) as captured:
        yield captured


def begun(
    name: str,
    kind: SpanKind,
    attributes: dict[str, str | int | bool],
    what: bytes = record.SPAN,
) -> bytes:
    span = PROVIDER.get_tracer("x").start_span(name, kind=kind, attributes=attributes)
    prefix = record.prefix(encode.resource(PROVIDER.resource), encode.scope(None), what)
    return prefix + encode.span(span)  # type: ignore[arg-type]


def die_with(state_dir: Path, *records: bytes, watcher: Watcher | None = None) -> int:
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            recorder = Recorder(state_dir, 1 << 16)
            recorder.watcher = watcher or Watcher()
            for each in records:
                recorder.begin(each, Pending())
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    return pid


def test_a_task_is_one_line_one_count_one_alert_and_one_span(
    told: Captured, tmp_path: Path
) -> None:
    die_with(tmp_path, begun("process pay", SpanKind.CONSUMER, TASK))
    finisher, sink = Finisher(tmp_path, 1 << 16), Sink()
    for _ in range(2):
        finisher.look()
        Shipper(tmp_path, sink, 1).ship()
    assert sink.taken == ["process pay"]
    (line,) = told.events("task.lost")
    assert (line["task"], line["task_id"], line["attempt"]) == ("pay", "id-1", 3)
    assert (line["queue"], line["service"], line["level"]) == ("money", "shop", "error")
    assert line["error_type"] == "ProcessLost"
    assert len(line["trace_id"]) == 32
    assert told.metric("celery_task_results_total", task="pay", outcome="lost") == 1
    (alert,) = spool.pending(tmp_path)
    assert '"service":"shop"' in alert.read_text()


def test_a_task_that_is_not_critical_has_no_alert(told: Captured, tmp_path: Path) -> None:
    die_with(tmp_path, begun("process pay", SpanKind.CONSUMER, TASK | {names.CELERY_CRITICAL: 0}))
    Finisher(tmp_path, 1 << 16).look()
    assert len(told.events("task.lost")) == 1
    assert spool.pending(tmp_path) == []


def test_a_request_is_one_line_and_one_count(told: Captured, tmp_path: Path) -> None:
    die_with(tmp_path, begun("POST /pay/<id>", SpanKind.SERVER, REQUEST))
    Finisher(tmp_path, 1 << 16).look()
    (line,) = told.events("request.finished")
    assert (line["method"], line["route"], line["service"]) == ("POST", "/pay/<id>", "shop")
    assert (line["outcome"], line["status"]) == ("lost", None)
    count = "http_server_request_duration_seconds_count"
    assert told.metric(count, http_route="/pay/<id>", http_response_status_code="") == 1


def test_an_unsampled_task_is_told_without_a_span(told: Captured, tmp_path: Path) -> None:
    die_with(tmp_path, begun("process pay", SpanKind.CONSUMER, TASK, record.UNSAMPLED))
    Finisher(tmp_path, 1 << 16).look()
    sink = Sink()
    Shipper(tmp_path, sink, 1).ship()
    assert sink.sent == []
    assert len(told.events("task.lost")) == 1
    assert told.metric("celery_task_results_total", task="pay", outcome="lost") == 1
    assert len(spool.pending(tmp_path)) == 1


def test_what_cannot_be_read_holds_up_nothing_else(told: Captured, tmp_path: Path) -> None:
    die_with(tmp_path, b"T" + bytes(20), begun("process pay", SpanKind.CONSUMER, TASK))
    Finisher(tmp_path, 1 << 16).look()
    assert len(told.events("task.lost")) == 1
    assert list((tmp_path / "rings").glob("*.left")) == []


def test_another_span_is_its_span_alone(told: Captured, tmp_path: Path) -> None:
    die_with(tmp_path, begun("send pay", SpanKind.PRODUCER, TASK))
    Finisher(tmp_path, 1 << 16).look()
    assert told.events("task.lost") == []


def test_where_a_cause_was_noted_the_line_was_told_too(told: Captured, tmp_path: Path) -> None:
    watcher = Watcher(os.getpid(), 60)
    pid = die_with(tmp_path, begun("process pay", SpanKind.CONSUMER, TASK), watcher=watcher)
    finisher = Finisher(tmp_path, 1 << 16)
    finisher.look()
    assert len(list((tmp_path / "rings").glob("*.left"))) == 1
    inflight.note_cause(tmp_path / "rings", pid, Cause("WorkerLostError", "signal 9"))
    finisher.look()
    assert list((tmp_path / "rings").glob("*.left")) == []
    assert told.events("task.lost") == []


@pytest.mark.parametrize("kind", ["requeued", "terminated", "failure"])
def test_a_span_ends_with_the_outcome_that_was_noted(kind: Any) -> None:
    noted = lost.outcome(Cause("WorkerLostError", "signal 9", kind))
    ended = finished(begun("process pay", SpanKind.CONSUMER, TASK), 5, noted)
    span = Span.FromString(record.body(ended)[1])
    found = {each.key: each.value.string_value for each in span.attributes}
    assert found["celery.outcome"] == kind
    assert found["error.type"] == "WorkerLostError"
    assert span.status.code == (0 if kind == "requeued" else 2)


def test_nobody_waits_for_a_cause_that_a_dead_watcher_would_note(
    told: Captured, tmp_path: Path
) -> None:
    watcher = os.fork()
    if watcher == 0:
        os._exit(0)
    os.waitpid(watcher, 0)
    die_with(tmp_path, begun("process pay", SpanKind.CONSUMER, TASK), watcher=Watcher(watcher, 600))
    Finisher(tmp_path, 1 << 16).look()
    assert len(told.events("task.lost")) == 1


def test_an_agent_killed_among_many_tells_no_task_twice(
    told: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        begun("process pay", SpanKind.CONSUMER, TASK | {names.MESSAGING_MESSAGE_ID: f"id-{n}"})
        for n in range(5)
    ]
    die_with(tmp_path, *records)
    finisher = Finisher(tmp_path, 1 << 16)
    told_before = finisher._end

    def killed_at_the_third(*args: object) -> None:
        if len(told.events("task.lost")) == 2:
            raise KeyboardInterrupt
        told_before(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(finisher, "_end", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        finisher.look()
    Finisher(tmp_path, 1 << 16).look()
    ids = [line["task_id"] for line in told.events("task.lost")]
    assert sorted(ids) == [f"id-{n}" for n in range(5)]


def test_a_span_too_large_for_the_table_keeps_what_it_is_told_by(
    told: Captured, tmp_path: Path
) -> None:
    large = TASK | {f"arg.{n}": "y" * 500 for n in range(20)}
    die_with(tmp_path, begun("process pay", SpanKind.CONSUMER, large))
    Finisher(tmp_path, 1 << 16).look()
    sink = Sink()
    Shipper(tmp_path, sink, 1).ship()
    assert sink.taken == ["process pay"]
    (line,) = told.events("task.lost")
    assert (line["task_id"], line["attempt"], line["service"]) == ("id-1", 3, "shop")
    assert len(spool.pending(tmp_path)) == 1


def test_a_shortened_record_is_a_record_of_the_same_span() -> None:
    whole = begun("process pay", SpanKind.CONSUMER, TASK | {"arg": "y" * 9000})
    short = shortened(whole, inflight.ROOM)
    assert 0 < len(short) <= inflight.ROOM
    before, after = (Span.FromString(record.body(each)[1]) for each in (whole, short))
    assert [a.key for a in after.attributes] == list(TASK)
    del before.attributes[:], after.attributes[:]
    assert before == after


def test_a_span_whose_name_alone_is_too_large_is_not_kept() -> None:
    assert shortened(begun("n" * 9000, SpanKind.CONSUMER, {}), inflight.ROOM) == b""
