"""Whatever stands in a queue, kombu gets a message that it can take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.transport.virtual import Channel, Message
from kombu.utils.json import loads

from followthrough.celery import aside, envelope

GOOD: dict[str, Any] = {
    "body": "W10=",
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {"task": "t", "id": "1"},
    "properties": {
        "body_encoding": "base64",
        "delivery_tag": "tag",
        "delivery_info": {"exchange": "", "routing_key": "q"},
    },
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def taken(message: Any) -> Message:
    """As kombu's virtual channels make of what they have decoded."""

    class Fake:
        codecs = Channel.codecs
        decode_body = Channel.decode_body

    found = Message(message, channel=Fake())
    assert isinstance(found.delivery_tag, str)
    assert {"exchange", "routing_key"} <= set(found.delivery_info)
    assert not isinstance(found.headers.get("task", ""), (dict, list))
    return found


def through(item: bytes) -> Message:
    text = item.decode(errors="replace")
    return taken(envelope.admit(envelope.read(text, loads), "q"))


@given(st.binary(max_size=200))
def test_any_bytes_become_a_message(item: bytes) -> None:
    message = through(item)
    assert envelope.reason(message.headers)
    payload, raw = aside.payload_of(message)
    assert raw
    text = item.decode(errors="replace")
    if isinstance(envelope.read(text, loads), envelope.Unread):
        assert payload.decode() == text


@given(json_values)
def test_any_json_becomes_a_message(value: Any) -> None:
    through(json.dumps(value).encode())


@given(st.sampled_from(["body", "headers", "properties", "content-type"]), json_values)
def test_a_message_with_any_part_spoilt_is_taken(part: str, value: Any) -> None:
    through(json.dumps({**GOOD, part: value}).encode())


@given(st.sampled_from(["body_encoding", "delivery_tag", "delivery_info", "priority"]), json_values)
def test_a_message_with_any_property_spoilt_is_taken(name: str, value: Any) -> None:
    through(json.dumps({**GOOD, "properties": {**GOOD["properties"], name: value}}).encode())


def spoilt(name: str, value: Any) -> dict[str, Any]:
    """A good message but for one part, wherever that is."""
    message = json.loads(json.dumps(GOOD))
    properties = message["properties"]
    for place in (message, message["headers"], properties, properties["delivery_info"]):
        if name in place:
            place[name] = value
    return message  # type: ignore[no-any-return]


parts = [*GOOD, *GOOD["headers"], *GOOD["properties"], *GOOD["properties"]["delivery_info"]]


@given(st.sampled_from(parts), json_values)
@example("body", "x")
@example("body", "é")
@example("body", "W10=\n")
def test_what_looks_usual_is_what_has_no_problem_or_what_kombu_does_not_decode(
    name: str, value: Any
) -> None:
    message = spoilt(name, value)
    problem = envelope.problem(message)
    if envelope.is_usual(message) and problem:
        assert name == "body"
        with pytest.raises(ValueError, match=r"."):
            taken(message)


@pytest.mark.parametrize("item", [GOOD, {**GOOD, "body": ""}])
def test_a_good_message_looks_usual(item: dict[str, Any]) -> None:
    assert envelope.is_usual(item)


@pytest.mark.parametrize("item", [None, 5, "x", [], {}, envelope.Unread("x", ValueError())])
def test_what_is_no_message_does_not(item: Any) -> None:
    assert not envelope.is_usual(item)


@pytest.mark.parametrize(
    "item",
    [
        b"x",
        b"5",
        b"[" * 100_000,
        b"1" * 5000,
        b"",
        b"\xff\xfe",
        b'{"__type__": "decimal", "__value__": "no"}',
        b'{"__type__": "uuid", "__value__": {"hex": 5}}',
    ],
)
def test_known_garbage_is_put_into_an_envelope(item: bytes) -> None:
    assert envelope.reason(through(item).headers)


def test_a_good_message_is_left_as_it_is() -> None:
    assert envelope.admit(GOOD, "q") is GOOD
    assert envelope.problem({**GOOD, "headers": None}) == ""


def test_an_envelope_is_admitted_again_as_it_is() -> None:
    """One that a killed worker held comes back from the queue."""
    once = envelope.admit(5, "q")
    assert envelope.admit(json.loads(json.dumps(once)), "q") == once
