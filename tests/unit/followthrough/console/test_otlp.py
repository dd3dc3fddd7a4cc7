"""Spans out of OTLP requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from followthrough.console import otlp
from followthrough.console.span import Span, Tag

SAMPLE = Path(__file__).with_name("sample.json")


def only(**fields):
    """The one span of a JSON request whose span has these fields."""
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, **fields}
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    (answer,) = otlp.spans(otlp.from_json(json.dumps(document).encode()))
    return answer


def test_protobuf_and_json_give_the_same_spans(sample):
    document = (otlp.from_json(SAMPLE.read_bytes())).SerializeToString()
    assert list(otlp.spans(otlp.from_protobuf(document))) == sample


def test_a_span_has_what_was_sent(sample):
    span = next(span for span in sample if span.span_id == "3" * 16)
    assert (span.service, span.kind, span.parent_id) == (
        "followthrough-worker",
        "consumer",
        "2" * 16,
    )
    assert (span.status, span.message) == ("ERROR", "SMTPServerDisconnected: gone")
    assert span.failed
    assert span.duration == 70_999_200
    assert [event.name for event in span.events] == ["exception", "", "retry"]
    assert [link.span_id for link in span.links] == ["1" * 16, "2" * 16]
    assert Tag("process.pid", "int64", 42) in span.resource


def test_every_attribute_type_is_kept(sample):
    tags = next(span.tags for span in sample if span.span_id == "3" * 16)
    assert tags == sorted(tags)
    assert {tag.key: tag[1:] for tag in tags} == {
        "celery.ok": ("bool", False),
        "celery.retries": ("int64", 0),
        "celery.task_name": ("string", "tasks.send_email"),
        "empty": ("string", ""),
        "names": ("string", '["x",1,true]'),
        "nested": ("string", '{"a":1,"b":["c"]}'),
        "nothing": ("string", ""),
        "ratio": ("float64", 0.5),
        "raw": ("binary", "AP9hYmM="),
        "whole": ("float64", 2.0),
    }


def test_a_span_survives_its_json(sample):
    assert [Span.from_json(span.to_json()) for span in sample] == sample


@pytest.mark.parametrize(
    "fields",
    [{"traceId": "00" * 16}, {"traceId": "ab"}, {"spanId": ""}, {"spanId": "00" * 8}],
)
def test_a_span_with_an_invalid_id_is_told_apart(fields):
    assert only(**fields) is None


def test_an_invalid_parent_counts_as_none():
    assert only(parentSpanId="00" * 8).parent_id == ""


def test_a_span_without_service_name_is_given_one():
    assert only().service == "missing-service-name"


def test_a_span_that_ends_before_its_start_takes_no_time():
    span = only(startTimeUnixNano="2000", endTimeUnixNano="1000")
    assert (span.start, span.end) == (2000, 2000)


def test_times_too_large_for_the_store_are_cut():
    span = only(startTimeUnixNano=str(2**64 - 1), endTimeUnixNano=str(2**64 - 1))
    assert (span.start, span.end) == (2**63 - 1, 2**63 - 1)


def test_numbers_that_json_lacks_become_text():
    attribute = {"key": "x", "value": {"doubleValue": "NaN"}}
    assert only(attributes=[attribute]).tags == [Tag("x", "string", "nan")]


def test_an_unknown_kind_counts_as_none():
    assert only(kind=77).kind == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b'{"resourceSpans": 1}',
        b"[" * 100_000,
        b"\xff",
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xy"}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":1}]}]}]}',
    ],
)
def test_json_that_is_no_request_is_refused(body):
    with pytest.raises(ValueError, match="not an OTLP/JSON trace request"):
        otlp.from_json(body)


def test_bytes_that_are_no_request_are_refused():
    with pytest.raises(ValueError, match="not an OTLP trace request"):
        otlp.from_protobuf(b"\x0a\xff\xff")


def test_unknown_members_are_ignored():
    assert only(isFromTheFuture={"a": 1}).name == ""
