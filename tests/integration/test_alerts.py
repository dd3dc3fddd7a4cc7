"""Alerts under kill -9: none is lost, and a kill repeats at most the one in flight."""

from __future__ import annotations

import itertools
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from followthrough.alerts import spool
from followthrough.alerts.alert import new_alert
from tests.support import HOME, Program, python, running, wait_for

pytestmark = pytest.mark.integration

PROGRAMS = str(HOME / "tests" / "integration" / "alert_programs.py")
# Of each round of this many deliveries, one ends in a kill.
ROUND = 4
ROUNDS = 12


class Receiver:
    """A webhook receiver that kills the dispatcher at a chosen moment of some deliveries."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.kills = 0
        self.program: Program | None = None
        self.random = random.Random(7)  # noqa: S311
        self.moments = itertools.cycle(["unanswered", "answered", "later"])
        self.numbers = itertools.count(1)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        self.ids.append(handler.headers["webhook-id"])
        kills = next(self.numbers) % ROUND == 0 and self.kills < ROUNDS
        moment = next(self.moments) if kills else ""
        self.kills += kills
        if moment == "unanswered":
            self.kill()
        handler.send_response_only(204)
        handler.end_headers()
        if moment == "answered":
            self.kill()
        elif moment == "later":
            threading.Timer(self.random.uniform(0, 0.003), self.kill).start()

    def kill(self) -> None:
        assert self.program
        self.program.signal(signal.SIGKILL)


@contextmanager
def serving(receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with_connection(receiver, self)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def with_connection(receiver: Receiver, handler: BaseHTTPRequestHandler) -> None:
    # A killed dispatcher's connection breaks; that is what the test is about.
    try:
        receiver.handle(handler)
    except ConnectionError:
        handler.close_connection = True


def test_kills_of_a_real_dispatcher_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path):
    """Twelve kills, before an answer, right after one and a little later, over 60 alerts."""
    ids = [spooled(tmp_path, number) for number in range(60)]
    receiver = Receiver()
    with serving(receiver) as url:
        env = {
            "FOLLOWTHROUGH_STATE_DIR": str(tmp_path),
            "FOLLOWTHROUGH_ALERT_NOTIFIERS": "webhook,log",
            "FOLLOWTHROUGH_ALERT_WEBHOOK_URL": url,
        }
        for _ in range(ROUNDS):
            with running(python(PROGRAMS, "serve"), tmp_path / "log", env) as receiver.program:
                assert receiver.program.wait() == -signal.SIGKILL
        with running(python(PROGRAMS, "serve"), tmp_path / "log", env):
            wait_for(lambda: not spool.pending(tmp_path), "every alert is delivered")
    repeats = len(receiver.ids) - len(ids)
    assert sorted(alert_id for alert_id, _ in itertools.groupby(receiver.ids)) == sorted(ids), (
        "what a kill cut off is the next that is sent, and nothing else comes twice"
    )
    assert ROUNDS // 3 <= repeats <= ROUNDS, "kills before an answer repeat their alert"
    assert len(list((tmp_path / "alerts" / "sent").glob("*.json"))) == len(ids)
    assert not list((tmp_path / "alerts").glob("failed/*"))


def spooled(state_dir, number):
    alert = new_alert(task="tasks.pay", task_id=str(number), outcome="failure")
    assert spool.write(state_dir, alert)
    return alert.id


@pytest.mark.parametrize("program", ["deliveries", "writes", "rings", "readers"])
def test_a_kill_at_any_line_loses_nothing_and_repeats_at_most_one(tmp_path, program):
    """Each line that a delivery or a write runs is the last one once, then all is run again."""
    with running(python(PROGRAMS, program, str(tmp_path / "state")), tmp_path / "log") as run:
        assert run.wait(60) == 0
    reports = [
        [int(figure) for figure in line.split()[1:]]
        for line in run.output().splitlines()
        if line.startswith("REPORT ")
    ]
    assert [line for line, *_ in reports] == list(range(1, len(reports) + 1))
    assert len(reports) > 50
    strange_and_ended = {tuple(rest) for _, lost, repeated, *rest in reports}
    # A process that is killed in the middle leaves what it has said that it left, or one more.
    ends = {(0, 0), (0, 1), (0, 2)} if program == "rings" else {(0, 2)}
    assert strange_and_ended == ends
    assert {lost for _, lost, *_ in reports} == {0}
    assert {repeated for _, _, repeated, *_ in reports} <= {0, 1}
    if program == "deliveries":
        assert 1 in {repeated for _, _, repeated, *_ in reports}, "some kill fell in the window"
