from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from followthrough.alerts import dispatcher as module
from followthrough.alerts import spool
from followthrough.alerts.dispatcher import Dispatcher
from followthrough.alerts.notifiers import Retry
from tests.support import wait_for
from tests.support.alerts import Fake, Hanging, left


@pytest.fixture
def run():
    """Runs dispatchers in threads that end with the test."""
    stop = threading.Event()
    threads = []

    def run(dispatcher):
        threads.append(threading.Thread(target=dispatcher.run, args=(stop,)))
        threads[-1].start()
        return stop, threads[-1]

    yield run
    stop.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_run_removes_what_earlier_runs_left_behind(tmp_path, write, run):
    write()
    stale = tmp_path / "alerts" / "progress" / "msg_gone"
    stale.mkdir(parents=True)
    run(Dispatcher(tmp_path, [Fake("fake"), Fake("dead", *[Retry("down")] * 50)]))
    wait_for(lambda: not stale.exists(), "the stale progress goes")
    wait_for(lambda: left(tmp_path)[3] == 1, "the live progress stays")


def test_run_delivers_what_comes_later_beside_a_hanging_notifier(tmp_path, write, run):
    hanging, alive = Hanging("hanging"), Fake("alive")
    run(Dispatcher(tmp_path, [hanging, alive]))
    first = write()
    wait_for(lambda: hanging.tried == [first], "the hanging notifier has the first alert")
    second = write()
    wait_for(lambda: alive.took == [first, second], "the other one delivers both")
    assert hanging.tried == [first]
    hanging.released.set()


def test_run_stops_in_about_a_second_while_a_notifier_hangs(tmp_path, write, run):
    hanging = Hanging("hanging")
    stop, thread = run(Dispatcher(tmp_path, [hanging]))
    write()
    wait_for(lambda: hanging.tried, "the notifier hangs")
    stop.set()
    thread.join(2.5)
    assert not thread.is_alive()
    hanging.released.set()
    wait_for(lambda: left(tmp_path)[1] == 1, "what was in flight ends")


def test_run_outlives_a_broken_spool(tmp_path, make_alert, run, monkeypatch):
    monkeypatch.setattr(module, "TROUBLE_WAIT", 0.05)
    (tmp_path / "alerts").write_text("not a folder")
    fake = Fake()
    with capture_logs() as lines:
        run(Dispatcher(tmp_path, [fake]))
        wait_for(lambda: [line for line in lines if "failed" in line["event"]], "it complains")
        (tmp_path / "alerts").unlink()
        spool.write(tmp_path, make_alert())
        wait_for(lambda: fake.took, "it delivers once the spool is whole")
