"""Spans are light while only the recorder listens, and the SDK's as soon as another one does."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from followthrough.recorder.processor import RecorderProcessor
from followthrough.recorder.recorder import Recorder
from followthrough.tracing import get_tracer
from followthrough.tracing.light import LightSpan

Use = Callable[[trace.TracerProvider], None]
Recorded = Callable[[], list[Span]]


def test_a_span_is_light_while_only_the_recorder_listens(
    provider: TracerProvider, recorded: Recorded
) -> None:
    span = get_tracer("a", "1", "http://schema").start_span("light")
    assert isinstance(span, LightSpan)
    span.end()
    assert [each.name for each in recorded()] == ["light"]


def test_a_processor_that_is_added_later_gets_the_spans_that_begin_then(
    provider: TracerProvider, recorded: Recorded
) -> None:
    tracer = get_tracer("a")
    before = tracer.start_span("before")
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    after = tracer.start_span("after")
    assert isinstance(after, sdk.Span)
    after.end()
    before.end()
    assert [each.name for each in exporter.get_finished_spans()] == ["after"]
    assert [each.name for each in recorded()] == ["after", "before"]


def test_where_the_sdk_counts_its_own_spans_they_are_the_sdks(
    recorder: Recorder, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RecorderProcessor(recorder))
    use(provider)
    assert isinstance(get_tracer("a").start_span("x"), sdk.Span)


def test_a_provider_of_the_host_is_used_as_it_is(use: Use) -> None:
    exporter = InMemorySpanExporter()
    own = TracerProvider(shutdown_on_exit=False)
    own.add_span_processor(SimpleSpanProcessor(exporter))
    use(own)
    with get_tracer("a", "1", "http://schema").start_as_current_span("theirs"):
        pass
    (span,) = exporter.get_finished_spans()
    scope = span.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version, scope.schema_url) == ("a", "1", "http://schema")


def test_without_a_provider_spans_are_not_recorded_until_there_is_one(
    recorder: Recorder, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    tracer = get_tracer("a")
    assert not tracer.start_span("none").is_recording()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RecorderProcessor(recorder))
    use(provider)
    assert isinstance(tracer.start_span("light"), LightSpan)


def test_a_disabled_sdk_records_nothing(
    recorder: Recorder, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RecorderProcessor(recorder))
    use(provider)
    assert not get_tracer("a").start_span("none").is_recording()


def test_while_instrumentation_is_suppressed_nothing_is_recorded(
    provider: TracerProvider, recorded: Recorded
) -> None:
    tracer = get_tracer("a")
    with tracer.start_as_current_span("outer") as outer, suppress_instrumentation():
        inner = tracer.start_span("inner")
        assert not inner.is_recording()
        assert inner.get_span_context() == outer.get_span_context()
        inner.end()
    assert [each.name for each in recorded()] == ["outer"]


def test_spans_of_the_sdk_and_light_ones_nest(provider: TracerProvider, recorded: Recorded) -> None:
    stock, light = trace.get_tracer("stock"), get_tracer("light")
    with (
        light.start_as_current_span("1"),
        stock.start_as_current_span("2"),
        light.start_as_current_span("3"),
    ):
        pass
    first, second, third = sorted(recorded(), key=lambda each: each.name)
    assert first.parent_span_id == b""
    assert second.parent_span_id == first.span_id
    assert third.parent_span_id == second.span_id
    assert len({each.trace_id for each in (first, second, third)}) == 1


def test_an_exception_out_of_the_current_span_is_recorded_unless_it_is_told_not_to(
    provider: TracerProvider, recorded: Recorded
) -> None:
    tracer = get_tracer("a")
    with pytest.raises(KeyError), tracer.start_as_current_span("told"):
        raise KeyError("x")
    with (
        pytest.raises(KeyError),
        tracer.start_as_current_span(
            "not told", record_exception=False, set_status_on_exception=False
        ),
    ):
        raise KeyError("x")
    told, not_told = recorded()
    assert [event.name for event in told.events] == ["exception"]
    assert told.status.message == "KeyError: 'x'"
    assert not not_told.events
    assert not not_told.status.message


def test_all_that_the_api_takes_may_be_given_in_its_order(
    provider: TracerProvider, recorded: Recorded
) -> None:
    of = inspect.signature(trace.Tracer.start_as_current_span).parameters
    ours = inspect.signature(type(get_tracer("a")).start_as_current_span).parameters
    assert list(of) == list(ours)
    kind = trace.SpanKind.CLIENT
    with (
        pytest.raises(KeyError),
        get_tracer("a").start_as_current_span(
            "x", None, kind, {"a": 1}, (), 5, False, False, False
        ) as span,
    ):
        raise KeyError("x")
    assert span.is_recording()
    span.end()
    (told,) = recorded()
    assert (told.start_time_unix_nano, told.kind, len(told.events)) == (5, 3, 0)
