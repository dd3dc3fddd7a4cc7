"""What is written straight to bytes is what opentelemetry-proto reads, field by field."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as ProtoStatus
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from followthrough import redact
from followthrough.outcome import Outcome
from followthrough.recorder import encode, record, request, wire

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
SCALARS = (st.text(), st.booleans(), INT64, st.floats(), st.binary())
# What a name calls secret is masked, which the stock encoder doesn't do.
NAMES = st.text(max_size=20).filter(lambda name: redact.kind(name) == redact.TEXT)
VALUES = st.recursive(
    st.one_of(*SCALARS),
    lambda inner: (
        st.lists(inner | st.none(), max_size=4).map(tuple)
        | st.dictionaries(NAMES, inner | st.none(), max_size=3)
    ),
    max_leaves=5,
)
ATTRIBUTES = st.dictionaries(NAMES, VALUES | st.none(), max_size=5)
STATES = st.sampled_from([None, TraceState(), TraceState([("a", "1"), ("b", "2")])])
CONTEXTS = st.builds(
    SpanContext,
    trace_id=st.integers(0, 2**128 - 1),
    span_id=UINT64,
    is_remote=st.booleans(),
    trace_flags=st.just(TraceFlags(1)),
    trace_state=STATES,
)
EVENTS = st.builds(Event, name=st.text(), attributes=ATTRIBUTES, timestamp=UINT64)
LINKS = st.builds(Link, context=CONTEXTS, attributes=ATTRIBUTES)
STATUSES = (
    st.just(Status())
    | st.builds(Status, st.just(StatusCode.ERROR), st.text() | st.none())
    | st.just(Status(StatusCode.OK))
)
SCOPES = st.none() | st.builds(
    InstrumentationScope, st.text(), st.text() | st.none(), st.text() | st.none(), ATTRIBUTES
)
SPANS = st.builds(
    ReadableSpan,
    name=st.text(),
    context=CONTEXTS,
    parent=CONTEXTS | st.none(),
    resource=st.builds(Resource, ATTRIBUTES, st.text()),
    attributes=ATTRIBUTES,
    events=st.lists(EVENTS, max_size=3),
    links=st.lists(LINKS, max_size=3),
    kind=st.sampled_from(SpanKind),
    status=STATUSES,
    start_time=UINT64,
    end_time=UINT64,
    instrumentation_scope=SCOPES,
)
# Their resources and scopes are often the same, which is what joins them.
SPANS_OF_FEW = st.builds(
    ReadableSpan,
    name=st.text(max_size=5),
    context=CONTEXTS,
    resource=st.sampled_from([Resource({"a": n}, url) for n in (1, 2) for url in ("", "x")]),
    instrumentation_scope=st.sampled_from([None, *map(InstrumentationScope, "ab")]),
)


def recorded(span: ReadableSpan) -> bytes:
    body = encode.span(span)
    prefix = record.prefix(encode.resource(span.resource), encode.scope(span.instrumentation_scope))
    return prefix + body


def joined(*spans: ReadableSpan) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(request.traces(map(recorded, spans)))


def exact(message: Message) -> bytes:
    """Its bytes: a message with a NaN equals none, not even itself."""
    return message.SerializeToString(deterministic=True)


def test_secrets_in_attributes_events_and_statuses_are_masked() -> None:
    secret = "redis://user:hunter2@host"
    nested = {
        "note": secret,
        "password": "hunter2",
        "list": [secret, secret],
        "deep": {"a": secret},
    }
    made = ReadableSpan(
        name="x",
        context=SpanContext(1, 2, is_remote=False),
        attributes={"url.full": secret, "db.password": "hunter2", "urls": [secret], "n": nested},
        events=[Event("exception", {"exception.message": secret, "long": "x " * 99 + secret}, 1)],
        status=Status(StatusCode.ERROR, secret),
    )
    recorded_span = joined(made).SerializeToString()
    assert b"hunter2" not in recorded_span
    assert recorded_span.count(b"redis://user:********@host") == 9
    assert b"hunter2" not in encode.ended(b"", 1, Outcome("failure", "Lost", secret), "reason")


@given(SPANS)
def test_every_field_is_what_the_stock_encoder_writes(span: ReadableSpan) -> None:
    assert exact(joined(span)) == exact(encode_spans([span]))


@given(SPANS, st.integers(0, 10))
def test_a_span_is_the_same_if_its_start_was_encoded_before(span: ReadableSpan, known: int) -> None:
    whole = dict(span._attributes or {})
    span._attributes = dict(list(whole.items())[:known])
    start = encode.begun(span)
    span._attributes, span._name = whole, span.name + "!"
    message = Span.FromString(encode.span(span, start))
    assert exact(message) == exact(encode_spans([span]).resource_spans[0].scope_spans[0].spans[0])


@given(SPANS, st.integers(0, 10))
def test_a_span_is_the_same_if_its_first_attributes_were_kept(
    span: ReadableSpan, known: int
) -> None:
    kept = encode.kept(dict(list((span._attributes or {}).items())[:known]))
    assert encode.begun(span, kept) == encode.begun(span)


@given(st.floats(), st.floats(), st.text())
def test_numbers_in_one_go_are_the_same_as_one_by_one(one: float, two: float, text: str) -> None:
    numbers = encode.Numbers("one", "two", before=encode.field("text", text))
    assert numbers.of(one, two) == encode.kept({"text": text, "one": one, "two": two}).fields


@given(SPANS)
def test_one_that_is_under_way_can_be_read(span: ReadableSpan) -> None:
    span._end_time = None
    body = encode.begun(span)[0]
    ended = Span.FromString(encode.ended(body, 7, Outcome("lost", "Killed", "by a test")))
    assert (ended.name, ended.end_time_unix_nano) == (span.name, 7)
    assert ended.status == ProtoStatus(code=ProtoStatus.STATUS_CODE_ERROR, message="by a test")


def test_text_that_utf_8_cannot_write_is_replaced_wherever_it_stands() -> None:
    half, attributes = "half \ud800", {"half \ud800": "half \ud800", "list": ("half \ud800",)}
    context = SpanContext(1, 2, is_remote=False)
    span = ReadableSpan(
        half,
        context,
        resource=Resource(attributes, half),
        attributes=attributes,
        events=[Event(half, attributes, 1)],
        links=[Link(context, attributes)],
        status=Status(StatusCode.ERROR, half),
        instrumentation_scope=InstrumentationScope(half, half, half, attributes),
    )
    found = exact(joined(span))
    assert found.count(b"half ?") == 7 + 5 * 3
    assert b"half" not in found.replace(b"half ?", b"")


def test_a_huge_span_is_whole() -> None:
    attributes = {str(number): (number, "x" * number) for number in range(3000)}
    context = SpanContext(1, 2, is_remote=False)
    span = ReadableSpan(
        "x" * 100_000,
        context,
        resource=Resource.get_empty(),
        attributes=attributes,
        events=[Event("e", attributes, 1)] * 3,
    )
    assert exact(joined(span)) == exact(encode_spans([span]))


@given(st.lists(SPANS_OF_FEW, max_size=6))
def test_spans_are_joined_by_resource_and_scope(spans: list[ReadableSpan]) -> None:
    found = joined(*spans)
    assert sum(len(s.spans) for r in found.resource_spans for s in r.scope_spans) == len(spans)
    origins = [r.resource.SerializeToString(deterministic=True) for r in found.resource_spans]
    assert len(set(origins)) <= len(origins)
    by_origin = {encode.resource(span.resource) for span in spans}
    assert len(origins) == len(by_origin)


def test_what_limits_have_dropped_is_counted() -> None:
    limits = SpanLimits(
        max_span_attributes=1,
        max_events=1,
        max_links=1,
        max_event_attributes=1,
        max_link_attributes=1,
    )
    context = SpanContext(1, 2, is_remote=True)
    links = [Link(context, {"a": 1, "b": 2})] * 3
    tracer = TracerProvider(span_limits=limits).get_tracer("x")
    span = tracer.start_span("x", attributes={"a": 1, "b": 2, "c": 3}, links=links)
    for _ in range(3):
        span.add_event("e", {"a": 1, "b": 2})
    span.end()
    ended = span._readable_span()
    found = joined(ended)
    assert found == encode_spans([ended])
    written = found.resource_spans[0].scope_spans[0].spans[0]
    assert written.dropped_attributes_count == 2
    assert written.dropped_events_count == written.dropped_links_count == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9223372036854775809"),
        ("half \ud800", "half ?"),
        (object, str(object)),
    ],
)
def test_what_otlp_has_no_type_for_is_told_as_text(value: object, text: str) -> None:
    assert AnyValue.FromString(wire.any_value(value)).string_value == text


@pytest.mark.parametrize("bits", [0, 7, 11, 14, 15, 16, 21, 62])
def test_a_number_is_itself_at_each_length_of_its_encoding(bits: int) -> None:
    for number in (1 << bits) - 1, 1 << bits, (1 << bits) + 1234:
        # The second time it is kept, if it is at all.
        for _ in range(2):
            field = wire.attributes(b"\x0a", {"client.port": number, "other": number})
            found = [
                (each.key, each.value.int_value) for each in KeyValueList.FromString(field).values
            ]
            assert found == [("client.port", number), ("other", number)]


def test_only_what_holds_no_secrets_is_encoded_without_a_look() -> None:
    assert {redact.kind(name) for name in wire._UNIQUE} == {redact.SAFE}


def test_a_huge_value_is_whole() -> None:
    text = "x" * 10_000_000
    assert AnyValue.FromString(wire.any_value(text)).string_value == text


def test_names_made_up_without_end_take_no_more_memory() -> None:
    for number in range(10_000):
        wire.attributes(
            b"\x0a", {f"key.{number}": 1, f"text.{number}": "a", f"port.{number}": 20_000}
        )
        wire.attributes(b"\x0a", {"key": f"value {number}"})
    assert len(wire._keys) <= 2048
    fields = wire._fields[b"\x0a"]
    for kept in (fields, fields._numbers, fields._heads, fields._doubles, fields._ports):
        assert len(kept) <= 2048
    assert AnyValue.FromString(wire.any_value({"new": 1})).kvlist_value.values[0].key == "new"


@given(st.binary(max_size=40))
def test_what_is_no_record_is_refused(data: bytes) -> None:
    try:
        parts = record.body(data)
    except ValueError:
        return
    assert b"".join(parts) == data


def test_a_task_that_succeeded_before_its_process_was_lost_says_so_in_an_event() -> None:
    told = ReadableSpan(
        "process pay",
        SpanContext(1, 2, is_remote=False),
        resource=Resource({}),
        attributes={"celery.task_name": "pay"},
        start_time=1,
    )
    ended = Span.FromString(
        encode.ended(encode.begun(told)[0], 7, Outcome("success", "", "signal 9"))
    )
    (event,) = ended.events
    said = event.attributes[0].value.string_value
    assert (event.name, said) == ("celery.process_lost", "signal 9")
    assert ended.status.code == ProtoStatus.STATUS_CODE_UNSET
    assert "error.type" not in {each.key for each in ended.attributes}
