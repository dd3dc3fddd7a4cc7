from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

from followthrough.alerts import spool
from followthrough.alerts.alert import from_json


def test_a_written_alert_waits(tmp_path, make_alert):
    alert = make_alert()
    assert spool.write(tmp_path, alert)
    assert [from_json(path.read_bytes()) for path in spool.pending(tmp_path)] == [alert]


def test_the_same_end_twice_is_one_file(tmp_path, make_alert):
    for message in ("by the child", "by the main process"):
        assert spool.write(tmp_path, make_alert(task_id="1", message=message))
    assert len(spool.pending(tmp_path)) == 1


def test_two_outcomes_of_a_task_are_two_files(tmp_path, make_alert):
    for outcome in ("failure", "revoked"):
        spool.write(tmp_path, make_alert(task_id="1", outcome=outcome))
    assert len(spool.pending(tmp_path)) == 2


def test_nothing_waits_where_nothing_was_written(tmp_path):
    assert spool.pending(tmp_path) == []


def test_the_oldest_waits_first(tmp_path, make_alert):
    alerts = [make_alert() for _ in range(5)]
    for age, alert in enumerate(alerts):
        spool.write(tmp_path, alert)
        os.utime(tmp_path / "alerts" / f"{alert.id}.json", (age, 1000 - age))
    assert [path.stem for path in spool.pending(tmp_path)] == [alert.id for alert in alerts[::-1]]


def test_a_full_spool_takes_no_more_and_says_so(tmp_path, make_alert, monkeypatch):
    monkeypatch.setattr(spool, "LIMIT", 3)
    assert [spool.write(tmp_path, make_alert()) for _ in range(4)] == [True, True, True, False]
    assert len(spool.pending(tmp_path)) == 3


def test_a_full_spool_still_knows_what_it_has(tmp_path, make_alert, monkeypatch):
    monkeypatch.setattr(spool, "LIMIT", 1)
    assert spool.write(tmp_path, make_alert(task_id="1"))
    assert spool.write(tmp_path, make_alert(task_id="1"))


@pytest.fixture
def looks(monkeypatch):
    """The folders that were looked through, and a clock that stands until it is moved."""
    found = SimpleNamespace(folders=[], now=1000.0)
    look = spool._waiting

    def waiting(folder):
        found.folders.append(folder)
        return look(folder)

    monkeypatch.setattr(spool, "_waiting", waiting)
    monkeypatch.setattr("followthrough.alerts.spool.time.monotonic", lambda: found.now)
    return found


def test_a_storm_of_alerts_looks_through_the_spool_once_a_second(tmp_path, make_alert, looks):
    for _ in range(20):
        assert spool.write(tmp_path, make_alert())
    assert len(looks.folders) == 1
    looks.now += spool.LOOK_EVERY
    spool.write(tmp_path, make_alert())
    assert len(looks.folders) == 2


def test_a_full_spool_is_not_looked_through_for_each_alert(
    tmp_path, make_alert, looks, monkeypatch
):
    monkeypatch.setattr(spool, "LIMIT", 0)
    assert not any(spool.write(tmp_path, make_alert()) for _ in range(20))
    assert len(looks.folders) == 1


def test_room_that_the_dispatcher_made_is_used_a_second_later(
    tmp_path, make_alert, looks, monkeypatch
):
    monkeypatch.setattr(spool, "LIMIT", 1)
    assert [spool.write(tmp_path, make_alert()) for _ in range(2)] == [True, False]
    spool.finish(*spool.pending(tmp_path), "sent")
    looks.now += spool.LOOK_EVERY
    assert spool.write(tmp_path, make_alert())


def test_each_state_directory_has_room_of_its_own(tmp_path, make_alert, monkeypatch):
    monkeypatch.setattr(spool, "LIMIT", 1)
    assert all(spool.write(tmp_path / name, make_alert()) for name in ("a", "b"))


def test_a_write_that_fails_leaves_nothing_and_raises(tmp_path, make_alert, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        spool.write(tmp_path, make_alert())
    assert list((tmp_path / "alerts").iterdir()) == []


def test_a_finished_alert_waits_no_longer_and_is_known_as_done(tmp_path, make_alert):
    spool.write(tmp_path, make_alert())
    [path] = spool.pending(tmp_path)
    assert not spool.done(path)
    spool.finish(path, "sent")
    assert spool.pending(tmp_path) == []
    assert spool.done(path)


def test_prune_keeps_recent_ends_and_removes_old_and_abandoned_ones(tmp_path, make_alert):
    alerts = [make_alert() for _ in range(3)]
    for alert in alerts:
        spool.write(tmp_path, alert)
    old, recent, refused = spool.pending(tmp_path)
    for path, end in ((old, "sent"), (recent, "sent"), (refused, "failed")):
        spool.finish(path, end)
    abandoned = tmp_path / "alerts" / ".msg_1.x.tmp"
    abandoned.touch()
    past = time.time() - 2 * spool.SENT_MAX_AGE
    for path in (
        abandoned,
        old.parent / "sent" / old.name,
        refused.parent / "failed" / refused.name,
    ):
        os.utime(path, (past, past))
    spool.prune(tmp_path)
    assert [spool.done(path) for path in (old, recent, refused)] == [False, True, True]
    assert not abandoned.exists()


def test_ended_alerts_are_bounded_and_the_oldest_go_first(tmp_path, make_alert, monkeypatch):
    for _ in range(4):
        spool.write(tmp_path, make_alert())
    paths = spool.pending(tmp_path)
    for age, path in enumerate(paths):
        spool.finish(path, "failed")
        os.utime(path.parent / "failed" / path.name, (1000 - age, 1000 - age))
    monkeypatch.setattr(spool, "LIMIT", 2)
    spool.prune(tmp_path)
    assert [spool.done(path) for path in paths] == [True, True, False, False]
