"""What is wrapped of kombu and Celery is looked at first, and let be where it differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.consumer import Consumer
from kombu.transport import redis, virtual

from followthrough.celery import envelope, unreadable
from followthrough.testing import Captured


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    yield
    unreadable.disconnect()


def test_it_is_undone_without_a_trace(told: Captured) -> None:
    def parts() -> list[Any]:
        return [
            redis.Transport._deliver,
            redis.loads,
            *(vars(Consumer)[name] for name in unreadable.EXPECTED),
        ]

    before = parts()
    for _ in range(2):
        unreadable.connect()
        unreadable.connect()
        assert unreadable.is_on()
        assert all(ours is not theirs for ours, theirs in zip(parts(), before, strict=True))
        unreadable.disconnect()
        assert not unreadable.is_on()
        assert parts() == before


def test_another_kombu_is_let_be_with_a_warning(
    told: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis.Channel, "_brpop_read", lambda _: None)
    monkeypatch.delattr(redis, "loads")
    unreadable.connect()
    (line,) = told.events("quarantine.off")
    assert line["parts"] == ["_brpop_read", "loads"]
    assert not unreadable.is_on()


def test_another_celery_is_let_be_with_a_warning(
    told: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Consumer, "on_decode_error", lambda _, _message: None)
    unreadable.connect()
    (line,) = told.events("quarantine.off")
    assert line["parts"] == ["on_decode_error"]
    assert redis.loads.__module__ == "kombu.utils.json"


class Channel:
    """As much of one as kombu's way of an item to its consumer needs."""

    codecs, decode_body = virtual.Channel.codecs, virtual.Channel.decode_body
    sep, connection_errors = "\x06\x16", (OSError,)
    _in_poll: Any = None

    def __init__(self, item: Any, consume: Callable[[virtual.Message], object]) -> None:
        answer = (b"q", item if isinstance(item, bytes) else json.dumps(item).encode())
        self.client = SimpleNamespace(parse_response=lambda *_, **__: answer, connection=None)
        self._queue_cycle = SimpleNamespace(rotate=lambda _: None)
        self.connection = object.__new__(redis.Transport)
        self.connection._callbacks = {"q": lambda raw: consume(virtual.Message(raw, channel=self))}

    def _flush_brpop_reauth(self) -> None:
        pass

    pop = redis.Channel._brpop_read


def message(**values: Any) -> dict[str, Any]:
    place = {"exchange": "", "routing_key": "elsewhere"}
    properties = {"body_encoding": "base64", "delivery_tag": "t", "delivery_info": place}
    found = {"body": "W10=", "headers": {"task": "t"}, "properties": properties}
    return {**found, **values}


@pytest.fixture
def on(told: Captured) -> None:
    unreadable.connect()


@pytest.mark.usefixtures("on")
def test_a_message_is_taken_as_it_is_and_its_queue_is_known_meanwhile() -> None:
    taken: list[Any] = []
    Channel(message(), lambda m: taken.append((m._raw, unreadable.popping.queue))).pop()
    assert taken == [(message(), "q")]
    assert unreadable.popping.queue == ""


@pytest.mark.usefixtures("on")
@pytest.mark.parametrize(
    "item", [b"no json", b"5", b'{"__type__": "uuid", "__value__": 5}', message(body="W10")]
)
def test_what_kombu_would_fall_over_comes_in_an_envelope(item: Any) -> None:
    taken: list[virtual.Message] = []
    Channel(item, taken.append).pop()
    (found,) = taken
    assert envelope.reason(found.headers)
    assert found.delivery_info["routing_key"] == "q"


@pytest.mark.usefixtures("on")
def test_an_error_of_the_consumer_itself_is_its_own() -> None:
    taken: list[virtual.Message] = []

    def consume(given: virtual.Message) -> None:
        taken.append(given)
        raise ValueError("it has its own troubles")

    with pytest.raises(ValueError, match="troubles"):
        Channel(message(), consume).pop()
    assert len(taken) == 1


@pytest.mark.usefixtures("on")
def test_what_is_read_for_another_purpose_fails_as_ever() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        redis.loads("no json")
