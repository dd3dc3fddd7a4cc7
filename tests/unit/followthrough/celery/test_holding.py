"""Which messages are noted as held, and which are forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.transport import virtual

import followthrough
from followthrough.celery import holding
from followthrough.recorder import held
from followthrough.testing import Captured


class Channel:
    """As much of a channel of Redis as it takes."""

    unacked_key, unacked_index_key, global_keyprefix = "unacked", "unacked_index", ""
    do_restore = False

    def __init__(self, **options: Any) -> None:
        client = SimpleNamespace(
            as_uri=lambda **_: "redis://:secret@h/0", ssl=None, transport_options=options
        )
        self.connection = SimpleNamespace(client=client)
        self.closed = False
        self.qos = virtual.QoS(self)

    def deliver(self, tag: str, task: str = "t") -> None:
        headers = {"task": task, "id": f"id-{tag}"}
        message = SimpleNamespace(headers=headers, delivery_info={"routing_key": "q"})
        self.qos.append(message, tag)


@pytest.fixture
def app(told: Captured) -> Iterator[Celery]:
    app = Celery("unit", broker="memory://")
    followthrough.instrument_celery()
    holding.connect(app)
    yield app
    holding.disconnect()
    followthrough.uninstrument_celery()


def tags(told: Captured) -> set[str]:
    (path,) = held.folder(told.settings.state_dir).iterdir()
    with path.open("rb") as file:
        found = held.read(file.fileno())
    assert found is not None
    return {each.tag for each in found.entries}


@pytest.mark.usefixtures("app")
def test_a_message_is_held_until_it_is_settled(told: Captured) -> None:
    channel = Channel()
    for tag in "abc":
        channel.deliver(tag)
    channel.qos.ack("b")
    assert tags(told) == {"a", "c"}


@pytest.mark.usefixtures("app")
def test_a_second_channel_leaves_what_the_first_one_holds(told: Captured) -> None:
    first, second = Channel(), Channel()
    first.deliver("a")
    second.deliver("b")
    first.deliver("c")
    assert tags(told) == {"a", "b", "c"}


@pytest.mark.usefixtures("app")
def test_after_a_lost_connection_what_waited_is_forgotten(told: Captured) -> None:
    first = Channel()
    first.deliver("a")
    first.closed = True
    Channel().deliver("b")
    assert tags(told) == {"b"}


@pytest.mark.usefixtures("app")
def test_another_broker_needs_no_table(told: Captured) -> None:
    channel = Channel()
    del channel.connection
    channel.__class__ = type("Other", (), {"do_restore": False})
    channel.qos.append(SimpleNamespace(headers={}, delivery_info={}), "a")
    assert not held.folder(told.settings.state_dir).exists()


@pytest.mark.usefixtures("app")
def test_only_settings_that_another_process_can_be_told_are_kept(told: Captured) -> None:
    Channel(visibility_timeout=60, retry=object(), nested={"a": 1, "b": print}).deliver("a")
    (path,) = held.folder(told.settings.state_dir).iterdir()
    with path.open("rb") as file:
        found = held.read(file.fileno())
    assert found is not None
    assert found.broker["options"] == {"visibility_timeout": 60}
    assert found.broker["url"] == "redis://:secret@h/0"


@pytest.mark.usefixtures("app")
def test_what_does_not_fit_is_counted(told: Captured) -> None:
    Channel().deliver("x" * 400)
    assert told.metric("celery_messages_not_held_total") == 1


def test_a_critical_task_is_noted_as_one(told: Captured, app: Celery) -> None:
    @app.task(name="dear", critical=True, shared=False)
    def dear() -> None:
        pass

    channel = Channel()
    for tag, task in (("a", "dear"), ("b", "t"), ("c", "dear")):
        channel.deliver(tag, task)
    (path,) = held.folder(told.settings.state_dir).iterdir()
    with path.open("rb") as file:
        found = held.read(file.fileno())
    assert found is not None
    assert {each.tag: each.critical for each in found.entries} == {"a": True, "b": False, "c": True}


@pytest.mark.usefixtures("told")
def test_it_is_undone_without_a_trace() -> None:
    before = vars(virtual.QoS).copy()
    for _ in range(2):
        holding.connect(Celery("unit", broker="memory://"))
        assert virtual.QoS.append is not before["append"]
        holding.disconnect()
        assert vars(virtual.QoS) == before
