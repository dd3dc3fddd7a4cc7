"""An alert in an event ring is in the spool before the ring lets go of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from followthrough.agent import events
from followthrough.agent.events import Events
from followthrough.alerts import keep, spool
from followthrough.alerts.alert import Alert, new_alert, to_json
from followthrough.recorder import account
from followthrough.recorder.places import EVENTS
from followthrough.recorder.recorder import Recorder


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path, 1 << 16)


def alert(number: int = 0, message: str = "") -> Alert:
    return new_alert(task="pay", task_id=str(number), outcome="failure", message=message)


def record(number: int = 0, message: str = "") -> bytes:
    return keep.ALERT + to_json(alert(number, message))


def spooled(state_dir: Path) -> list[str]:
    return sorted(json.loads(p.read_bytes())["task_id"] for p in spool.pending(state_dir))


def counts(state_dir: Path) -> tuple[int, int, int]:
    found = account.totals(state_dir, EVENTS)
    return found.produced, found.exported, found.held


def test_alerts_go_from_the_ring_into_the_spool(tmp_path: Path, recorder: Recorder) -> None:
    assert all(recorder.keep_event(record(n)) for n in range(3))
    assert counts(tmp_path) == (3, 0, 3)
    Events(tmp_path).look()
    assert spooled(tmp_path) == ["0", "1", "2"]
    assert counts(tmp_path) == (3, 3, 0)


def test_an_alert_goes_into_the_ring_and_into_the_spool_where_that_is_full(
    tmp_path: Path, recorder: Recorder
) -> None:
    keep.use(tmp_path, "shop", recorder.keep_event)
    try:
        for number in range(100):
            keep.alert(task="pay", task_id=str(number), outcome="failure", message="x" * 2000)
    finally:
        keep.use(None)
    in_ring, in_spool = counts(tmp_path)[2], len(spooled(tmp_path))
    assert in_ring > 30
    assert in_spool == 100 - in_ring
    assert account.totals(tmp_path, EVENTS).produced == in_ring
    Events(tmp_path).look()
    assert len(spooled(tmp_path)) == 100


def test_what_the_spool_does_not_take_stays_in_the_ring(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.keep_event(record(1))
    recorder.keep_event(record(2))
    taker = Events(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(spool, "write", lambda *_: False)
        taker.look()
    assert counts(tmp_path) == (2, 0, 2)
    taker.look()
    assert spooled(tmp_path) == ["1", "2"]


def test_a_disk_that_takes_nothing_is_tried_again_later(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.keep_event(record())
    tries = []

    def write(*_: object) -> bool:
        tries.append(1)
        raise OSError(28, "No space left on device")

    taker = Events(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(spool, "write", write)
        taker.look()
        taker.look()
    assert len(tries) == 1
    monkeypatch.setattr(events.time, "monotonic", lambda: taker._not_before + 1)
    taker.look()
    assert spooled(tmp_path) == ["0"]


def test_what_is_no_alert_is_counted_and_holds_nothing_up(
    tmp_path: Path, recorder: Recorder
) -> None:
    for each in (b"A{}", b"?nonsense", record(7)):
        recorder.keep_event(each)
    Events(tmp_path).look()
    assert spooled(tmp_path) == ["7"]
    assert account.totals(tmp_path, EVENTS).dropped["rejected"] == 2


def test_an_agent_that_has_lost_its_lock_takes_nothing(tmp_path: Path, recorder: Recorder) -> None:
    recorder.keep_event(record())
    Events(tmp_path, lambda: False).look()
    assert counts(tmp_path) == (1, 0, 1)


def test_where_no_ring_can_be_had_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "rings").write_text("no folder")
    assert not Recorder(tmp_path, 1 << 16).keep_event(record())
