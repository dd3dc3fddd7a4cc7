"""What is wrapped of kombu and Celery is looked at first, and let be where it differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery.worker.consumer import Consumer
from kombu.transport import redis

from followthrough.celery import unreadable
from followthrough.testing import Captured


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    yield
    unreadable.disconnect()


def test_it_is_undone_without_a_trace(told: Captured) -> None:
    def parts() -> list[Any]:
        owners = (redis.Channel, "_brpop_read"), (redis.Transport, "_deliver")
        found = [getattr(owner, name) for owner, name in owners]
        return [*found, redis.loads, *(vars(Consumer)[name] for name in unreadable.EXPECTED)]

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
