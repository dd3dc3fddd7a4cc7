"""A light span is told as the SDK's would be, whatever is done to it."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider, sampling
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.trace.span import TraceState

from followthrough import tracing
from followthrough.agent.finisher import Finisher
from followthrough.recorder import encode, inflight, record
from followthrough.recorder import left as leavings
from followthrough.recorder.processor import RecorderProcessor
from followthrough.recorder.recorder import Recorder
from followthrough.tracing import get_tracer
from followthrough.tracing.light import LightSpan, UnsampledSpan
from followthrough.tracing.light_tracer import LightTracer
from tests.unit.followthrough.recorder.test_encode import CONTEXTS, INT64, VALUES, exact

Recorded = Callable[[], list[Span]]
TIMES = st.integers(0, 2**63 - 1)
# Few names, so that what is there is set again.
KEYS = st.sampled_from(["a", "b", "c", "d", ""])
ATTRIBUTES = st.dictionaries(KEYS, VALUES | st.none())
LINKS = st.builds(Link, context=CONTEXTS, attributes=ATTRIBUTES)
STARTS = st.fixed_dictionaries(
    {
        "name": st.text(),
        "kind": st.sampled_from(SpanKind),
        "attributes": ATTRIBUTES | st.none(),
        "links": st.lists(LINKS, max_size=3),
    }
)
ERRORS = st.sampled_from([ValueError("x"), KeyError(), OSError(2, "no such file")])
STATUSES = st.builds(Status, st.sampled_from(StatusCode), st.none()) | st.builds(
    Status, st.just(StatusCode.ERROR), st.text()
)


def call(
    name: str, *args: st.SearchStrategy[Any]
) -> st.SearchStrategy[tuple[str, tuple[Any, ...]]]:
    return st.tuples(st.just(name), st.tuples(*args))


# What the kit itself says of a span needs no cleaning.
OF_THE_KIT = st.dictionaries(
    # A number that is too large for OTLP is text, where the SDK leaves it out.
    st.sampled_from("abcd"),
    st.text() | INT64 | st.booleans() | st.floats(),
)
CALLS = st.lists(
    st.one_of(
        call("set_attribute", KEYS, VALUES),
        call("set_attributes", ATTRIBUTES),
        call("add_event", st.text(), ATTRIBUTES | st.none(), TIMES),
        call("add_link", CONTEXTS, ATTRIBUTES | st.none()),
        call("update_name", st.text()),
        call("describe", st.text(), OF_THE_KIT),
        call("set_status", STATUSES),
        call("set_status", st.sampled_from(StatusCode), st.text() | st.none()),
        call("record_exception", ERRORS, ATTRIBUTES | st.none(), TIMES),
        call("end", TIMES),
    ),
    max_size=6,
)
FEW = st.none() | st.integers(0, 3)
LIMITS = st.builds(
    SpanLimits,
    **{
        name: FEW.map(lambda most: SpanLimits.UNSET if most is None else most)
        for name in (
            "max_events",
            "max_links",
            "max_span_attributes",
            "max_event_attributes",
            "max_link_attributes",
            "max_attribute_length",
            "max_span_attribute_length",
        )
    },
)


class FixedIds(sdk.RandomIdGenerator):
    def generate_span_id(self) -> int:
        return 3

    def generate_trace_id(self) -> int:
        return 5


class NoRecorder:
    """Stands in for shared memory where only the encoding is looked at."""

    def note(self, *_: object) -> bool:
        return False

    keep = note

    def begin(self, *_: object) -> None: ...

    payload = b""

    def put(self, pending: Any) -> None:
        self.payload = pending.payload

    def give_up(self, *_: object) -> None: ...


def light_of(provider: TracerProvider, recorder: Any = None) -> LightTracer:
    tracer = provider.get_tracer("scope", "1", "schema")
    assert isinstance(tracer, sdk.Tracer)
    return LightTracer(tracer, RecorderProcessor(recorder or NoRecorder()))


def begun(tracer: Any, start: dict[str, Any], calls: Any, context: Any) -> Any:
    span = tracer.start_span(context=context, start_time=1, **start)
    for name, args in calls:
        describing = functools.partial(tracing.describe, span)
        (describing if name == "describe" else getattr(span, name))(*args)
    return span


def after(tracer: Any, start: dict[str, Any], calls: Any, context: Any) -> Any:
    span = begun(tracer, start, calls, context)
    span.end(2)
    return span


@given(STARTS, CALLS, CONTEXTS | st.none(), LIMITS)
def test_it_is_told_as_the_sdk_would(
    start: dict[str, Any], calls: Any, parent: SpanContext | None, limits: SpanLimits
) -> None:
    provider = TracerProvider(
        sampler=sampling.ALWAYS_ON, id_generator=FixedIds(), span_limits=limits
    )
    context = trace.set_span_in_context(NonRecordingSpan(parent)) if parent else None
    # First: the SDK changes the links that it is given.
    recorder = NoRecorder()
    light = after(light_of(provider, recorder), start, calls, context)
    stock = after(provider.get_tracer("scope", "1", "schema"), start, calls, context)
    (expected,) = encode_spans([stock]).resource_spans[0].scope_spans[0].spans
    # What was encoded as it began is used again.
    assert exact(Span.FromString(record.body(recorder.payload)[1])) == exact(expected)
    assert exact(Span.FromString(encode.span(light))) == exact(expected)
    for name in ("name", "kind", "parent", "start_time", "end_time", "attributes", "resource"):
        # By their texts: a NaN equals none.
        assert str(getattr(light, name)) == str(getattr(stock, name))
    assert light.instrumentation_scope == stock.instrumentation_scope
    assert light.get_span_context() == stock.get_span_context() == light.context
    assert light.status.status_code is stock.status.status_code


LINK = SpanContext(1, 2, is_remote=True)
START = {"name": "x", "attributes": {"a": 1, "b": 2}, "links": [Link(LINK)]}


@pytest.mark.parametrize(
    ("call", "limit"),
    [
        (("set_attribute", ("a", 3)), {}),
        (("set_attributes", ({"c": 3, "a": 4},)), {}),
        (("set_attribute", ("c", 3)), {"max_span_attributes": 2}),
        (("add_link", (LINK, {"new": True})), {"max_links": 1}),
        (("add_link", (LINK, {"new": True})), {}),
        (("update_name", ("y",)), {}),
        (("describe", ("y", {"c": 3})), {}),
        (("describe", ("y", {"c": 3, "a": 4})), {}),
    ],
)
def test_what_changes_after_its_start_is_told_as_it_is_at_its_end(
    call: Any, limit: dict[str, int]
) -> None:
    provider = TracerProvider(id_generator=FixedIds(), span_limits=SpanLimits(**limit))
    recorder = NoRecorder()
    light = after(light_of(provider, recorder), START, [call], None)
    stock = after(provider.get_tracer("scope", "1", "schema"), START, [call], None)
    (expected,) = encode_spans([stock]).resource_spans[0].scope_spans[0].spans
    assert light.attributes == stock.attributes
    assert Span.FromString(record.body(recorder.payload)[1]) == expected


@pytest.mark.parametrize(
    ("call", "limit", "last"),
    [
        (None, {}, {"z": 1}),
        (None, {}, {"z": 1, "a": 4}),
        (None, {"max_span_attributes": 2}, {"z": 1}),
        (("set_attribute", ("a", 3)), {}, {"z": 1}),
        (("set_attribute", ("c", 3)), {}, {"z": 1}),
        (("set_attribute", ("", 3)), {}, {"z": 1}),
        (("add_link", (LINK, {"new": True})), {}, {"z": 1}),
        (("add_event", ("x", {"new": True}, 5)), {}, {"z": 1}),
        (("update_name", ("y",)), {}, {"z": 1}),
        (("describe", ("y", {"c": 3})), {}, {"z": 1}),
        (("set_status", (StatusCode.ERROR,)), {}, {"z": 1}),
        (("end", (5,)), {}, {"z": 1}),
    ],
)
@pytest.mark.parametrize("sampler", [sampling.DEFAULT_ON, sampling.DEFAULT_OFF])
def test_an_end_that_is_encoded_once_is_told_as_any_other(
    call: Any, limit: dict[str, int], last: dict[str, Any], sampler: sampling.Sampler
) -> None:
    limits = SpanLimits(**limit)
    provider = TracerProvider(sampler=sampler, id_generator=FixedIds(), span_limits=limits)
    start, told = {"name": "x", "attributes": {"a": 1, "b": 2}}, []
    for fields in (encode.kept(last).fields, None):
        recorder = NoRecorder()
        span: Any = begun(light_of(provider, recorder), start, [call] if call else [], None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("followthrough.tracing.light.time_ns", lambda: 2)
            if fields is not None:
                tracing.end_with(span, last, fields)
            else:
                span.set_attributes(last)
                span.end()
        told.append((recorder.payload, str(getattr(span, "attributes", None))))
    assert told[0] == told[1]
    assert bool(told[0][0]) == (sampler is sampling.DEFAULT_ON)


SAMPLERS = (
    sampling.DEFAULT_ON,
    sampling.ParentBased(sampling.ALWAYS_ON),
    sampling.DEFAULT_OFF,
    sampling.ALWAYS_OFF,
    sampling.ParentBased(sampling.ALWAYS_ON, remote_parent_not_sampled=sampling.ALWAYS_ON),
    sampling.AlwaysRecordSampler(sampling.ALWAYS_OFF),
)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda each: each.get_description())
@given(CONTEXTS | st.none(), st.integers(0, 3))
def test_it_is_sampled_as_the_sdk_would(
    sampler: sampling.Sampler, parent: SpanContext | None, flags: int
) -> None:
    provider = TracerProvider(sampler=sampler, id_generator=FixedIds())
    context = None
    if parent is not None:
        parent = SpanContext(*parent[:3], TraceFlags(flags), parent.trace_state)
        context = trace.set_span_in_context(NonRecordingSpan(parent))
    stock = provider.get_tracer("x").start_span("x", context)
    light = light_of(provider).start_span("x", context)
    assert light.get_span_context() == stock.get_span_context()
    assert light.is_recording() == stock.is_recording()


def test_what_a_sampler_adds_is_kept() -> None:
    class Adding(sampling.StaticSampler):
        def should_sample(self, *_: Any, **__: Any) -> sampling.SamplingResult:
            state = TraceState([("a", "1")])
            return sampling.SamplingResult(
                sampling.Decision.RECORD_AND_SAMPLE, {"added": True}, state
            )

    span = light_of(TracerProvider(sampler=Adding(sampling.Decision.DROP))).start_span("x")
    assert isinstance(span, LightSpan)
    assert span.attributes == {"added": True}
    assert span.get_span_context().trace_state == TraceState([("a", "1")])


def test_the_standard_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "2")
    span = light_of(TracerProvider()).start_span("x", attributes={"a": 1, "b": "long"})
    assert isinstance(span, LightSpan)
    assert (span.attributes, span.dropped_attributes) == ({"b": "lo"}, 1)


def test_it_is_recorded_once_however_often_and_by_whomever_it_is_ended(
    provider: TracerProvider, recorded: Recorded
) -> None:
    span = get_tracer("a").start_span("once")
    ready = threading.Barrier(8)

    def end() -> None:
        ready.wait()
        span.end()

    threads = [threading.Thread(target=end) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [each.name for each in recorded()] == ["once"]


def test_attributes_that_are_set_while_it_ends_break_nothing(provider: TracerProvider) -> None:
    span = get_tracer("a").start_span("busy")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            span.set_attribute(str(number := number + 1), "x")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(200):
            encode.span(span)  # type: ignore[arg-type]
    finally:
        stop.set()
        thread.join()


def test_one_that_is_ended_with_an_error_of_a_signal_is_still_recorded(
    provider: TracerProvider, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    span = get_tracer("a").start_span("x")
    real, calls = encode.span, []

    def interrupted(*args: Any) -> bytes:
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(encode, "span", interrupted)
    with pytest.raises(KeyboardInterrupt):
        span.end()
    assert [each.name for each in recorded()] == ["x"]


class Interrupt(BaseException):
    """What a signal's handler raises, as Celery's does at a soft time limit."""


def interrupted(at: int, act: Callable[[], Any]) -> tuple[Any, bool]:
    """What `act` returns, and whether it was cut off at its so many-th call within the kit.

    Python looks for signals as a function of its own begins, and as one in C has returned.
    """
    left = [at]

    def profile(frame: Any, event: str, _argument: object) -> None:
        if event in ("call", "c_return") and "/followthrough/" in frame.f_code.co_filename:
            left[0] -= 1
            if left[0] == 0:
                raise Interrupt

    sys.setprofile(profile)
    try:
        return act(), False
    except Interrupt:
        return None, True
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("sampler", [sampling.DEFAULT_ON, sampling.DEFAULT_OFF])
def test_cut_off_at_any_call_its_start_leaves_nothing_and_its_end_tells_it_once(
    tmp_path: Path, recorder: Recorder, recorded: Recorded, sampler: sampling.Sampler
) -> None:
    tracer = light_of(TracerProvider(sampler=sampler, shutdown_on_exit=False), recorder)
    tracer.start_span("opens the files").end()
    recorded()
    places = set(recorder._table.free)  # type: ignore[union-attr]
    call, was_cut = 1, True
    while was_cut:
        span, was_cut = interrupted(call, lambda: tracer.start_span("x", attributes={"a": 1}))
        if span is not None:
            span.end()
        call += 1
        assert set(recorder._table.free) == places  # type: ignore[union-attr]
    assert call > 30
    assert len(recorded()) == sampler.get_description().startswith("ParentBased{root:AlwaysOn")
    kept = encode.kept({"b": 2})
    for end in (lambda span: span.end(), lambda span: tracing.end_with(span, *kept[:2])):
        call, was_cut = 1, True
        while was_cut:
            span = tracer.start_span("x", attributes={"a": 1})
            _, was_cut = interrupted(call, lambda: end(span))  # noqa: B023  called at once
            end(span)
            call += 1
            assert set(recorder._table.free) == places  # type: ignore[union-attr]
            assert len(recorded()) == (sampler is sampling.DEFAULT_ON)
        assert call > 7


def _die_with(tmp_path: Path, sampler: sampling.Sampler, *, ends: bool) -> list[leavings.Left]:
    """What a process leaves that dies with a span and its child under way."""
    pid = os.fork()
    if pid == 0:
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        recorder = Recorder(tmp_path, 1 << 16)
        recorder.watcher = inflight.Watcher(os.getppid(), 60.0)
        provider.add_span_processor(RecorderProcessor(recorder))
        trace._TRACER_PROVIDER = provider
        span = get_tracer("a").start_span("outer", attributes={"task": "pay"})
        get_tracer("a").start_span("inner", trace.set_span_in_context(span))
        if ends:
            span.end()
        os._exit(0)
    os.waitpid(pid, 0)
    Finisher(tmp_path, 1 << 16).look()
    found = map(leavings.read, (tmp_path / "rings").glob("*.left"))
    return [each for each in found if each is not None]


@pytest.mark.parametrize("sampler", [sampling.DEFAULT_ON, sampling.DEFAULT_OFF])
def test_one_that_has_ended_leaves_nothing(tmp_path: Path, sampler: sampling.Sampler) -> None:
    assert _die_with(tmp_path, sampler, ends=True) == []


def test_one_that_begins_in_a_process_is_left_by_its_death(tmp_path: Path) -> None:
    (left,) = _die_with(tmp_path, sampling.DEFAULT_ON, ends=False)
    (begun,) = left.records.values()
    assert record.is_span(begun)
    assert Span.FromString(record.body(begun)[1]).name == "outer"


def test_an_unsampled_one_is_left_too_but_not_sent(tmp_path: Path, recorded: Recorded) -> None:
    (left,) = _die_with(tmp_path, sampling.DEFAULT_OFF, ends=False)
    (begun,) = left.records.values()
    assert begun.startswith(record.UNSAMPLED)
    assert not record.is_span(begun)
    assert Span.FromString(record.body(begun)[1]).name == "outer"
    inflight.note_cause(tmp_path / "rings", left.pid, inflight.Cause("Killed", "by a test"))
    Finisher(tmp_path, 1 << 16).look()
    assert recorded() == []


def test_a_forked_child_that_ends_an_unsampled_span_leaves_that_of_its_parent(
    tmp_path: Path, recorder: Recorder
) -> None:
    provider = TracerProvider(sampler=sampling.DEFAULT_OFF, shutdown_on_exit=False)
    span = light_of(provider, recorder).start_span("parent's")
    assert isinstance(span, UnsampledSpan)
    pid = os.fork()
    if pid == 0:
        span.end()
        os._exit(0)
    os.waitpid(pid, 0)
    raw = (tmp_path / "rings" / "0.open").read_bytes()
    assert b"parent's" in raw
    assert inflight.ENTRY.unpack_from(raw, inflight.PAGE)[0]


def test_a_forked_child_tells_its_own_pid(provider: TracerProvider, recorded: Recorded) -> None:
    get_tracer("a")
    assert provider.resource.attributes.get("x") is None
    provider._update_resource(Resource({"x": "child"}))
    span = get_tracer("a").start_span("x")
    assert isinstance(span, LightSpan)
    assert span.resource.attributes["x"] == "child"
