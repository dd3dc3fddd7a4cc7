"""The short ways of most messages give what the long ways of all others do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery import signals as stock
from celery.app.task import Context as Request
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

import followthrough
from followthrough import tracing
from followthrough.celery import attributes, carrier, process, publish
from followthrough.celery.attempt import Attempt
from followthrough.celery.current import current
from followthrough.celery.sending import Sending, attributes_of, forget
from followthrough.outcome import SUCCESS
from followthrough.recorder import encode
from followthrough.recorder.processor import RecorderProcessor
from followthrough.recorder.recorder import Recorder
from followthrough.testing import Captured

PARENT = f"00-{7:032x}-{8:016x}-01"
TEXT = st.none() | st.text(max_size=300) | st.integers()
SENT = st.floats(1, 2e9) | st.floats(1, 1e9)
OURS = st.fixed_dictionaries(
    {}, optional={"sent": st.none() | st.floats() | st.integers(), "origin": st.just(PARENT)}
)
LIMITS = st.sampled_from([[None, None], (None, None), [3, 2.5], [None, 1], 5, [], None])
USUAL = st.fixed_dictionaries(
    {
        "traceparent": st.sampled_from([PARENT, PARENT[:-1] + "2"]),
        carrier.HEADER: st.fixed_dictionaries({"sent": SENT}),
    },
    optional={"baggage": st.sampled_from(["a=1", None]), "tracestate": st.just("a=1")},
)
MESSAGES = USUAL | st.fixed_dictionaries(
    {},
    optional={
        "traceparent": st.sampled_from([PARENT, PARENT[:-1] + "2", "", "x", 5, PARENT[:-4]]),
        "tracestate": st.sampled_from(["a=1", "", None, 5]),
        "baggage": st.sampled_from(["a=1", "", None, 5]),
        carrier.HEADER: st.none() | OURS,
    },
)
DELIVERIES = st.fixed_dictionaries(
    {},
    optional={
        "routing_key": TEXT,
        "priority": st.sampled_from([0, 3, None, "high", True, [1], {}]),
        "redelivered": st.sampled_from([False, False, True]),
        "followthrough_received": st.floats(1, 2e9) | st.none() | st.integers(),
    },
)
HEADERS = st.fixed_dictionaries(
    {"delivery_info": DELIVERIES},
    optional={
        "eta": TEXT,
        "expires": TEXT,
        "group": TEXT,
        "parent_id": TEXT,
        "root_id": TEXT,
        "origin": TEXT | st.just([]),
        "reply_to": TEXT | st.just({}),
        "hostname": st.none() | st.text(max_size=50),
        "retries": st.sampled_from([0, 0, 1]),
        "is_eager": st.sampled_from([False, False, True]),
        "timelimit": LIMITS,
        "chord": st.sampled_from([None, {}, {"options": {"task_id": "c"}}, 5, []]),
    },
)
# What is begun the short way, with what few messages say besides.
FIRST = st.fixed_dictionaries(
    {
        "delivery_info": st.fixed_dictionaries(
            {
                "routing_key": st.text(max_size=5),
                "priority": st.sampled_from([0, None, 3]),
                "redelivered": st.sampled_from([False, None]),
                "followthrough_received": st.floats(1e9, 2e9),
            }
        )
    },
    optional={
        "eta": st.sampled_from([None, "2017-07-14T02:40:00+00:00", "x"]),
        "expires": TEXT,
        "group": TEXT,
        "parent_id": TEXT,
        "root_id": st.sampled_from(["id-1", "id-0"]),
        "origin": TEXT,
        "hostname": st.sampled_from([None, "", "w@h"]),
        "timelimit": LIMITS,
        "chord": st.sampled_from([None, {"options": {"task_id": "c"}}]),
    },
)


@pytest.fixture
def app(told: Captured) -> Iterator[Celery]:
    app = Celery("run", broker="memory://", backend="cache+memory://", set_as_current=True)
    followthrough.instrument_celery()

    @app.task(shared=False, name="run.work", trace_args=("a",))
    def work(a: object = 1) -> None:
        pass

    @app.task(shared=False, name="run.plain")
    def plain() -> None:
        pass

    yield app
    followthrough.uninstrument_celery()
    app.close()


@pytest.fixture
def light(told: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The recorder alone, so that spans are light."""
    recorder = Recorder(tmp_path, 1 << 20)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RecorderProcessor(recorder))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield
    recorder.close()


def started(app: Celery, name: str, headers: dict[str, Any]) -> tuple[Any, Attempt]:
    attempt = Attempt(Request(headers), process.known(app.tasks[name]))
    process.start(attempt, "id-1", (), {})
    attempt.span.end()
    # One that isn't sampled stands before one that is told if its process is killed.
    return getattr(attempt.span, "_of", attempt.span), attempt


@pytest.mark.parametrize("name", ["run.work", "run.plain"])
@pytest.mark.parametrize("pool", ["", "prefork"])
def test_a_task_s_span_is_the_same_by_the_short_way_as_by_the_long_one(
    light: None, app: Celery, monkeypatch: pytest.MonkeyPatch, name: str, pool: str
) -> None:
    monkeypatch.setattr(current, "pool", pool)
    monkeypatch.setattr(process, "time", SimpleNamespace(time=lambda: 1.9e9))

    earlier = SpanContext(9, 9, is_remote=True)
    monkeypatch.setattr(
        process, "_earlier", lambda _, info: earlier if info.get("redelivered") else None
    )

    @given(HEADERS | FIRST, MESSAGES)
    def same(headers: dict[str, Any], message: dict[str, Any]) -> None:
        both = {**headers, **message}
        # The first one of its kind shows what the next ones have in common.
        process.forget()
        started(app, name, both)
        short, attempt = started(app, name, both)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "_learn", lambda *_: None)
            process.forget()
            long, other = started(app, name, both)
        assert dict(short.attributes) == dict(long.attributes)
        kinds = [{k: type(v) for k, v in each.attributes.items()} for each in (short, long)]
        assert kinds[0] == kinds[1]
        assert (short.parent, short.kind, short.name) == (long.parent, long.kind, long.name)
        assert [link.context for link in short.links] == [link.context for link in long.links]
        assert (attempt.wait, attempt.fields, attempt.origin) == (
            other.wait,
            other.fields,
            other.origin,
        )
        assert encode.begun(short, short.kept) == encode.begun(short)

    same()


USUAL_INFO = {
    "routing_key": "fast",
    "priority": 0,
    "redelivered": False,
    "followthrough_received": 1.6e9,
}


@pytest.mark.parametrize(
    "more", [{}, {"eta": "2017-07-14T02:40:00+00:00", "parent_id": "p", "root_id": "id-0"}]
)
@pytest.mark.parametrize("name", ["run.work", "run.plain"])
def test_most_messages_begin_their_task_the_short_way(
    light: None, app: Celery, monkeypatch: pytest.MonkeyPatch, name: str, more: dict[str, Any]
) -> None:
    message = {"traceparent": PARENT, carrier.HEADER: {"sent": 1.5e9}, "root_id": "id-1"}
    message |= {"delivery_info": USUAL_INFO, "timelimit": [None, None]} | more
    started(app, name, message)
    monkeypatch.setattr(process, "_start", None)
    span, attempt = started(app, name, message)
    assert (span.parent, attempt.fields["queue"]) == (carrier.parse(PARENT), "fast")


@given(HEADERS, st.sampled_from(["id-1", ""]))
def test_a_message_is_told_the_same_in_parts_as_in_one(
    headers: dict[str, Any], task_id: str
) -> None:
    found = attributes.of_sender(headers)
    attributes.note_message(found, headers, task_id)
    assert found == attributes.of_message(headers, task_id)


SPANS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.sampled_from([TraceFlags(number) for number in range(4)]),
)


def test_a_span_below_another_is_as_in_the_context_of_that(light: None) -> None:
    tracer = tracing.get_tracer("t")

    @given(above=st.none() | SPANS, is_within=st.booleans())
    def same(above: SpanContext | None, is_within: bool) -> None:
        compare(tracer, above, is_within=is_within)

    same()


def compare(tracer: trace.Tracer, above: SpanContext | None, *, is_within: bool) -> None:
    span = trace.INVALID_SPAN if above is None else NonRecordingSpan(above)
    inside = trace.set_span_in_context(span, Context())
    base = inside if is_within else Context()
    short = tracing.start_below(tracer, "a", above, base, SpanKind.CONSUMER, {"b": 1})
    long = tracer.start_span("a", inside, SpanKind.CONSUMER, {"b": 1})
    assert type(short) is type(long)
    ours, theirs = short.get_span_context(), long.get_span_context()
    assert ours.trace_flags == theirs.trace_flags
    if above is not None:
        assert ours.trace_id == theirs.trace_id == above.trace_id
    assert getattr(short, "parent", None) == getattr(long, "parent", None)
    assert getattr(short, "attributes", None) == getattr(long, "attributes", None)
    short.end()
    long.end()


@given(
    HEADERS,
    st.sampled_from(["", "e", None]),
    st.sampled_from([{}, None, {"priority": 5}, {"priority": [5]}]),
    st.sampled_from([None, ((), {}, {}), ((), {}, {"chord": {"options": {"task_id": "c"}}})]),
)
def test_what_a_send_span_keeps_is_what_it_says(
    headers: dict[str, Any], exchange: Any, properties: Any, body: Any
) -> None:
    app = Celery("kept", broker="memory://", set_as_current=False)
    sending = Sending(app, "run.work")
    sending.task_id, sending.queue = "id-1", "fast"
    first = attributes_of(sending, headers, body, exchange, properties)
    again, kept = attributes_of(sending, headers, body, exchange, properties)
    forget()
    assert first[0] == again
    if kept is not None:
        assert list(again)[: len(kept.attributes)] == list(kept.attributes)
        assert all(again[name] == value for name, value in kept.attributes.items())
        assert {type(value) for value in again.values()} <= {str, int, float, bool}


class Ended:
    """A span that notes what it is ended with."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def set_attributes(self, attributes: dict[str, Any]) -> None:
        self.attributes |= attributes

    def end(self) -> None: ...

    def end_with(self, attributes: dict[str, Any], fields: bytes) -> None:
        self.attributes, self.fields = attributes, fields


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_success_is_told_the_same_by_the_short_way(seconds: float, stored: float) -> None:
    short, long = Ended(), Ended()
    process.end_well(short, seconds, stored)  # type: ignore[arg-type]
    process.end(long, SUCCESS, None, seconds, stored)  # type: ignore[arg-type]
    assert short.attributes == long.attributes
    assert short.fields == encode.kept(long.attributes).fields


PLAIN: list[dict[str, Any]] = [
    {},
    {"countdown": 60, "expires": 90},
    {"group_id": "g", "parent_id": "p", "root_id": "r"},
    {"queue": "slow"},
]
UNUSUAL: list[dict[str, Any]] = [
    {"time_limit": 5},
    {"priority": 3},
    {"chord": {"options": {"task_id": "c"}}},
    {"headers": {"reply_to": "somebody"}},
]


@pytest.mark.parametrize("options", [*PLAIN, *UNUSUAL])
def test_a_message_is_sent_the_same_by_the_short_way_as_by_the_long_one(
    light: None, app: Celery, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    spans: list[Any] = []
    messages: list[Any] = []
    long_ways: list[int] = []
    start, long = tracing.start_below, publish.attributes_of

    def noted(*args: Any) -> trace.Span:
        spans.append(start(*args))
        return spans[-1]

    def counted(*args: Any) -> Any:
        long_ways.append(len(spans))
        return long(*args)

    def heard(headers: Any, **_: Any) -> None:
        messages.append(headers)

    monkeypatch.setattr(tracing, "start_below", noted)
    monkeypatch.setattr(publish, "attributes_of", counted)
    monkeypatch.setattr(app, "now", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    stock.before_task_publish.connect(heard, weak=False)
    try:
        for _ in range(2):
            app.send_task("run.plain", **{"task_id": "id-1", **options})
    finally:
        stock.before_task_publish.disconnect(heard)
    first, again = spans
    assert long_ways == ([0] if options in PLAIN else [0, 1])
    assert {k: (v, type(v)) for k, v in first.attributes.items()} == {
        k: (v, type(v)) for k, v in again.attributes.items()
    }
    assert (first.name, first.kind, first.parent) == (again.name, again.kind, again.parent)
    assert encode.begun(again, again.kept) == encode.begun(again)
    assert [*messages[0]] == [*messages[1]]
    for span, headers in zip(spans, messages, strict=True):
        assert headers["traceparent"] == carrier.text(span.get_span_context())
        assert [*headers[carrier.HEADER]] == ["sent"]
