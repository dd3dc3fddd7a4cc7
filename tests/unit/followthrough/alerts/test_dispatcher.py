from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from followthrough.alerts import dispatcher as module
from followthrough.alerts.dispatcher import Dispatcher
from followthrough.alerts.notifiers import Refused, Retry
from tests.support.alerts import Fake, left, names


def make(state_dir, *notifiers):
    return Dispatcher(state_dir, notifiers, jitter=lambda: 1.0)


def drain(dispatcher, now=0.0):
    """Steps until nothing is left to do at once; returns the wait that was asked for."""
    for _ in range(1000):
        if wait := dispatcher.step(now):
            return wait
    raise AssertionError("the dispatcher never rests")


def test_every_notifier_gets_every_alert_once(tmp_path, write):
    ids = [write() for _ in range(3)]
    one, two = Fake("one"), Fake("two")
    drain(make(tmp_path, one, two))
    assert sorted(one.took) == sorted(two.took) == sorted(ids)
    assert left(tmp_path) == [0, 3, 0, 0]


def test_with_nothing_to_do_it_rests(tmp_path):
    assert make(tmp_path, Fake()).step(0.0) == module.POLL
    assert make(tmp_path).step(0.0) == module.POLL


def test_after_a_long_look_for_alerts_it_rests_long(tmp_path):
    seconds = itertools.count()
    dispatcher = Dispatcher(tmp_path, [Fake()], clock=lambda: float(next(seconds)))
    assert dispatcher.step(0.0) == module.REST


def test_a_failed_delivery_is_repeated_with_the_same_id(tmp_path, write):
    alert_id = write()
    fake = Fake("fake", Retry("HTTP 503"))
    dispatcher = make(tmp_path, fake)
    wait = drain(dispatcher)
    assert drain(dispatcher, wait - 0.001) == pytest.approx(0.001)
    assert fake.tried == [alert_id]
    drain(dispatcher, wait)
    assert fake.took == [alert_id]
    assert fake.tried == [alert_id, alert_id]


def test_waits_double_up_to_a_cap_and_a_success_resets_them(tmp_path, write):
    write()
    dispatcher = make(tmp_path, Fake("fake", *[Retry("down")] * 9, None, Retry("down")))
    now, waits = 0.0, []
    for _ in range(9):
        waits.append(drain(dispatcher, now))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    drain(dispatcher, now)
    write()
    assert drain(dispatcher, now + 100) == 1


def test_thousands_of_failures_keep_the_wait_at_its_cap(tmp_path, write):
    write()
    dispatcher = make(tmp_path, Fake("fake", *[Retry("down")] * 2000))
    now = 0.0
    for _ in range(1500):
        now += drain(dispatcher, now)
    assert drain(dispatcher, now) == module.LONGEST_WAIT


def test_jitter_is_half_of_the_wait(tmp_path, write):
    write()
    fake = Fake("fake", Retry("down"))
    dispatcher = Dispatcher(tmp_path, [fake], jitter=lambda: 0.0)
    assert drain(dispatcher) == module.FIRST_WAIT / 2


@pytest.mark.parametrize(("asked", "wait"), [(30.0, 30.0), (0.1, 1.0), (1e9, 3600.0)])
def test_a_receiver_may_ask_for_a_longer_wait_within_reason(tmp_path, write, asked, wait):
    write()
    assert drain(make(tmp_path, Fake("fake", Retry("HTTP 429", asked)))) == wait


def test_an_alert_that_always_fails_holds_up_no_other(tmp_path, write):
    class Picky(Fake):
        def notify(self, alert):
            if alert.task == "tasks.poison":
                raise Retry("HTTP 500")
            super().notify(alert)

    write(task="tasks.poison")
    ids = [write() for _ in range(3)]
    picky = Picky()
    dispatcher = make(tmp_path, picky)
    now = 0.0
    for _ in range(5):
        now += drain(dispatcher, now)
    assert sorted(picky.took) == sorted(ids)
    assert left(tmp_path)[:2] == [1, 3]


def test_one_dead_notifier_holds_up_no_other(tmp_path, write):
    ids = [write() for _ in range(3)]
    dead, alive = Fake("dead", *[Retry("down")] * 10), Fake("alive")
    dispatcher = make(tmp_path, dead, alive)
    for _ in range(5):
        dispatcher.step(0.0)
    assert sorted(alive.took) == sorted(ids)
    assert left(tmp_path)[:2] == [3, 0]


def test_after_a_restart_only_the_notifier_that_failed_gets_it(tmp_path, write):
    alert_id = write()
    drain(make(tmp_path, Fake("one"), Fake("two", Retry("down"), Retry("down"))))
    one, two = Fake("one"), Fake("two")
    drain(make(tmp_path, one, two))
    assert (one.tried, two.tried) == ([], [alert_id])
    assert left(tmp_path) == [0, 1, 0, 0]


def test_a_refused_alert_is_set_aside_after_the_others_took_it(tmp_path, write):
    alert_id = write()
    slow = Fake("slow", Retry("down"))
    with capture_logs() as lines:
        dispatcher = make(tmp_path, Fake("no", Refused("HTTP 410")), slow)
        dispatcher.step(0.0)
        assert left(tmp_path)[:3] == [1, 0, 0]
        drain(dispatcher, 100.0)
    assert slow.took == [alert_id]
    assert left(tmp_path) == [0, 0, 1, 0]
    [line] = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["notifier"], line["reason"]) == ("alert.refused", "no", "HTTP 410")


def test_a_refusal_is_remembered_over_a_restart(tmp_path, write):
    write()
    make(tmp_path, Fake("no", Refused("HTTP 410")), Fake("slow", Retry("down"))).step(0.0)
    no = Fake("no")
    drain(make(tmp_path, no, Fake("slow")))
    assert no.tried == []
    assert left(tmp_path) == [0, 0, 1, 0]


def test_an_alert_moved_back_from_failed_is_sent_again(tmp_path, write):
    alert_id = write()
    fake = Fake("fake", Refused("HTTP 404"))
    dispatcher = make(tmp_path, fake)
    drain(dispatcher)
    name = f"{alert_id}.json"
    shutil.move(tmp_path / "alerts" / "failed" / name, tmp_path / "alerts" / name)
    drain(dispatcher)
    assert fake.took == [alert_id]
    assert left(tmp_path) == [0, 1, 0, 0]


def test_an_end_reported_again_after_its_delivery_is_not_sent_again(tmp_path, write):
    fake = Fake()
    dispatcher = make(tmp_path, fake)
    write(task_id="1")
    drain(dispatcher)
    write(task_id="1")
    drain(dispatcher)
    assert len(fake.tried) == 1
    assert left(tmp_path) == [0, 1, 0, 0]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"id": "msg_1"}'])
def test_an_unreadable_file_is_set_aside_and_the_next_is_sent(tmp_path, write, data):
    alert_id = write()
    (tmp_path / "alerts" / "broken.json").write_bytes(data)
    one, two = Fake("one"), Fake("two")
    with capture_logs() as lines:
        drain(make(tmp_path, one, two))
    assert one.took == two.took == [alert_id]
    assert names(tmp_path / "alerts" / "failed") == ["broken.json"]
    assert [line["file"] for line in lines if line["event"] == "alert.unreadable"] == [
        "broken.json"
    ]


def test_a_folder_in_the_spool_stops_nothing(tmp_path, write):
    alert_id = write()
    (tmp_path / "alerts" / "odd.json").mkdir()
    fake = Fake()
    drain(make(tmp_path, fake))
    assert fake.took == [alert_id]


def test_an_alert_that_vanishes_is_passed_over(tmp_path, write):
    first, second = write(), write()
    fake = Fake()
    dispatcher = make(tmp_path, fake)
    dispatcher.step(0.0)
    gone = {first, second} - set(fake.took)
    (tmp_path / "alerts" / f"{gone.pop()}.json").unlink()
    drain(dispatcher)
    assert len(fake.tried) == 1


def test_on_a_full_disk_an_alert_is_not_sent_over_and_over(tmp_path, write, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    write()
    fake = Fake("fake")
    dispatcher = make(tmp_path, fake, Fake("dead", *[Retry("down")] * 5))
    monkeypatch.setattr(Path, "touch", full)
    for now in range(5):
        drain(dispatcher, float(now))
    assert len(fake.tried) == 1


def test_an_unforeseen_error_of_a_notifier_is_retried_and_its_text_stays_out(tmp_path, write):
    alert_id = write()
    fake = Fake("fake", RuntimeError("password hunter2"))
    dispatcher = make(tmp_path, fake)
    with capture_logs() as lines:
        drain(dispatcher, drain(dispatcher))
    assert fake.took == [alert_id]
    assert "hunter2" not in json.dumps(lines)
    assert [line["reason"] for line in lines if line["event"] == "alert.retried"] == [
        "RuntimeError"
    ]
