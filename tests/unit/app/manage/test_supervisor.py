"""Real processes, started, watched and stopped in order; the clock is ours where time matters."""

import os
import sys
import time

import pytest

from app.manage import supervisor as module
from app.manage import unit as unit_module
from app.manage.processes import Stranger, start_token
from app.manage.records import RunDirectory
from app.manage.services import Question, Service
from app.manage.supervisor import Supervisor
from app.manage.unit import BACKOFF, DONE, FAILED, RUNNING, STOPPED, WAITING, Place
from tests.support import free_port, wait_for

READY = "import os, pathlib; pathlib.Path(os.environ['FOLLOWTHROUGH_READY_FILE']).touch()"
SLEEP = "import time; time.sleep(60)"
OBEDIENT = (sys.executable, "-c", SLEEP)
# Says ready after it ignores SIGTERM, so that a test can't signal it too early.
# A shell leaves SIGQUIT ignored in what it starts in the background; Celery takes it all the same.
STUBBORN = (
    sys.executable,
    "-c",
    f"from signal import *; signal(SIGQUIT, SIG_DFL); signal(SIGTERM, SIG_IGN); {READY}; {SLEEP}",
)


class Crew:
    """A supervisor over stand-ins, driven by the test."""

    def __init__(self, tmp_path, *services):
        (tmp_path / "log").mkdir()
        (tmp_path / "run").mkdir()
        self.said = []
        self.run = RunDirectory(tmp_path / "run")
        self.place = Place(tmp_path, dict(os.environ), self.run, tmp_path / "log")
        self.supervisor = Supervisor(services, self.place, self.said.append)
        self.ahead = 0.0

    def tick(self):
        self.supervisor.tick(time.monotonic() + self.ahead)

    def until(self, condition, what):
        def ticked():
            self.tick()
            return condition()

        return wait_for(ticked, what)

    def started(self):
        self.supervisor.start()
        self.until(lambda: self.supervisor.ready, "all are ready")
        return self

    def state(self, name):
        return self.supervisor.units[name].state

    def pid(self, name):
        process = self.supervisor.units[name].process
        return process.pid if process else None


@pytest.fixture
def crew(tmp_path):
    crews = []

    def make(*services):
        crews.append(Crew(tmp_path, *services))
        return crews[-1]

    yield make
    for each in crews:
        each.supervisor.stop()
        each.ahead += 3600
        each.until(lambda each=each: each.supervisor.gone, "all are gone")


def server(port, delay=0.0):
    """A program that answers PING on a port after a while."""
    code = f"""
import socketserver, time
time.sleep({delay})
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.readline(); self.wfile.write(b"+PONG")
class Server(socketserver.TCPServer):
    allow_reuse_address = True
Server(("127.0.0.1", {port}), Handler).serve_forever()
"""
    return (sys.executable, "-c", code)


def ping(port):
    return (Question("127.0.0.1", port, b"PING\r\n", b"+PONG"),)


def test_a_service_starts_when_what_it_needs_is_ready(crew):
    port = free_port()
    team = crew(
        Service("web", OBEDIENT, needs=("redis",)), Service("redis", server(port), ping(port))
    )
    team.supervisor.start()
    team.tick()
    assert team.pid("redis")
    assert team.state("web") == WAITING
    team.until(lambda: team.state("web") == RUNNING, "web runs")
    assert team.state("redis") == RUNNING


def test_a_service_that_announces_is_ready_when_it_says_so(crew):
    team = crew(Service("worker", (sys.executable, "-c", f"{READY}; {SLEEP}"), announces=True))
    team.started()
    assert team.run.ready_file("worker").exists()


def test_what_an_earlier_process_announced_is_forgotten(crew):
    team = crew(Service("worker", OBEDIENT, announces=True))
    team.run.ready_file("worker").touch()
    team.supervisor.start()
    team.tick()
    team.tick()
    assert not team.supervisor.ready


def test_what_runs_once_is_done_before_others_start(crew, tmp_path):
    note = tmp_path / "migrated"
    once = (sys.executable, "-c", f"open({str(note)!r}, 'w')")
    check = (sys.executable, "-c", f"open({str(note)!r}); {SLEEP}")
    team = crew(Service("migrate", once, once=True), Service("web", check, needs=("migrate",)))
    team.started()
    assert team.state("migrate") == DONE
    assert team.run.read("migrate") is None


def test_a_program_that_ends_while_starting_fails_the_start(crew):
    team = crew(
        Service("web", (sys.executable, "-c", "print('why'); raise SystemExit(3)"), announces=True)
    )
    team.supervisor.start()
    team.until(lambda: team.supervisor.failed, "the failure is noticed")
    assert team.supervisor.failed.reason == "web ended while starting (exit code 3)"
    assert team.place.log("web").read_text() == "why\n"


def test_a_program_that_is_missing_fails_the_start(crew):
    team = crew(Service("web", ("/nowhere/gunicorn",)))
    team.supervisor.start()
    team.until(lambda: team.supervisor.failed, "the failure is noticed")
    assert "can't be started" in team.supervisor.failed.reason


def test_a_program_that_is_never_ready_is_stopped(crew):
    team = crew(Service("web", OBEDIENT, announces=True))
    team.supervisor.start()
    team.tick()
    team.ahead = module.PATIENCE + 1
    team.until(lambda: team.state("web") == FAILED, "web is given up")
    assert "not ready after 30 s" in team.supervisor.failed.reason


def test_a_service_that_dies_is_started_again_after_a_while(crew):
    team = crew(Service("web", OBEDIENT)).started()
    first = team.pid("web")
    os.kill(first, 9)
    team.until(lambda: team.state("web") == BACKOFF, "its death is noticed")
    assert "web ended unexpectedly (signal SIGKILL); restart 1 of at most 5" in team.said[0]
    assert team.run.read("web").state == BACKOFF
    team.ahead += 1.1
    team.until(lambda: team.state("web") == RUNNING, "it runs again")
    assert team.pid("web") != first
    assert team.run.read("web").restarts == 1


def test_a_service_that_keeps_dying_is_given_up_and_the_others_go_on(crew):
    team = crew(Service("web", OBEDIENT), Service("mail", OBEDIENT)).started()
    while team.state("web") != FAILED:
        os.kill(team.pid("web"), 9)
        team.until(lambda: team.state("web") in (BACKOFF, FAILED), "its death is noticed")
        if team.state("web") == BACKOFF:
            team.ahead += 33
            team.until(lambda: team.state("web") == RUNNING, "it runs again")
    assert team.supervisor.units["web"].restarts == module.RESTARTS
    assert "given up" in team.said[-1]
    assert team.state("mail") == RUNNING
    assert team.run.read("web").state == FAILED


def test_restarts_are_forgiven_after_a_calm_time(crew):
    team = crew(Service("web", OBEDIENT)).started()
    for _ in range(2):
        team.ahead += module.CALM + 1
        os.kill(team.pid("web"), 9)
        team.until(lambda: team.state("web") == BACKOFF, "its death is noticed")
        assert team.supervisor.units["web"].restarts == 1
        team.ahead += 1.1
        team.until(lambda: team.state("web") == RUNNING, "it runs again")


def test_all_are_stopped_stage_by_stage(crew):
    """No new work, then the work, then what both need."""
    names = ("redis", "mail", "worker", "web")
    team = crew(*(Service(name, OBEDIENT) for name in names)).started()
    order = []

    def gone():
        order.extend(n for n in names if team.state(n) == STOPPED and n not in order)
        return team.supervisor.gone

    team.supervisor.stop()
    team.until(gone, "all are gone")
    assert order == ["web", "worker", "mail", "redis"]
    assert list(team.run.path.glob("*.pid")) == []


def test_a_worker_is_asked_then_told(crew):
    """SIGTERM, and SIGQUIT when its time is over; never SIGKILL to one that obeys that."""
    team = crew(Service("worker", STUBBORN, announces=True)).started()
    worker = team.supervisor.units["worker"]
    team.supervisor.stop()
    team.tick()
    assert worker.process is not None
    team.ahead += 4.3
    process = worker.process
    team.until(lambda: team.supervisor.gone, "the worker is gone")
    assert process.ending() == "signal SIGQUIT"


def test_a_second_ctrl_c_tells_at_once(crew):
    team = crew(Service("worker", STUBBORN, announces=True)).started()
    process = team.supervisor.units["worker"].process
    team.supervisor.stop()
    team.tick()
    team.supervisor.hurry()
    team.until(lambda: team.supervisor.gone, "the worker is gone")
    assert process.ending() == "signal SIGQUIT"


def test_a_second_ctrl_c_does_not_kill_redis(crew, monkeypatch):
    """It may still be writing its file."""
    sent = []
    monkeypatch.setattr(unit_module, "send", lambda _pid, number: sent.append(number))
    team = crew(Service("redis", OBEDIENT)).started()
    team.supervisor.stop()
    team.supervisor.hurry()
    for _ in range(3):
        team.tick()
    assert sent == [15]


def test_what_does_not_obey_is_killed_with_its_children(crew, tmp_path):
    note = tmp_path / "child"
    code = f"""
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "{SLEEP}"])
pathlib.Path({str(note)!r}).write_text(str(child.pid))
import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
{READY}
{SLEEP}
"""
    team = crew(Service("mail", (sys.executable, "-c", code), announces=True)).started()
    child = int(note.read_text())
    team.supervisor.stop()
    team.tick()
    team.ahead += 9.1
    team.until(lambda: team.supervisor.gone, "all are gone")
    wait_for(lambda: start_token(child) is None, "the grandchild is gone")


def test_children_left_by_a_service_that_obeyed_are_killed_too(crew, tmp_path):
    note = tmp_path / "child"
    code = f"""
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "{SLEEP}"])
pathlib.Path({str(note)!r}).write_text(str(child.pid))
{READY}
{SLEEP}
"""
    team = crew(Service("mail", (sys.executable, "-c", code), announces=True)).started()
    child = int(note.read_text())
    team.supervisor.stop()
    team.until(lambda: team.supervisor.gone, "all are gone")
    wait_for(lambda: start_token(child) is None, "the grandchild is gone")


def test_one_service_is_restarted_alone(crew):
    team = crew(Service("web", OBEDIENT), Service("mail", OBEDIENT)).started()
    web, mail = team.pid("web"), team.pid("mail")
    team.supervisor.restart(["web", "unknown"])
    team.until(lambda: team.pid("web") not in (None, web), "web is another process")
    team.until(lambda: team.supervisor.ready, "all are ready")
    assert team.pid("mail") == mail


def test_a_service_that_was_given_up_can_be_restarted(crew):
    team = crew(Service("web", OBEDIENT)).started()
    team.supervisor.units["web"].restarts = module.RESTARTS
    os.kill(team.pid("web"), 9)
    team.until(lambda: team.state("web") == FAILED, "web is given up")
    team.supervisor.restart(["web"])
    team.until(lambda: team.supervisor.ready, "it runs again")


def test_a_restart_while_all_is_stopped_changes_nothing(crew):
    team = crew(Service("web", OBEDIENT)).started()
    team.supervisor.stop()
    team.supervisor.restart(["web"])
    team.until(lambda: team.supervisor.gone, "all are gone")


def test_what_an_earlier_manager_left_is_stopped_without_being_its_parent(crew, tmp_path):
    """The stand-in is nobody's child here: its parent has gone."""
    note = tmp_path / "left"
    parent = f"""
import pathlib, subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "{SLEEP}"], start_new_session=True)
pathlib.Path({str(note)!r}).write_text(str(left.pid))
import os; os._exit(0)
"""
    os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "-c", parent], os.environ), 0)
    pid = int(note.read_text())
    team = crew(Service("worker", ()))
    team.supervisor.units["worker"].adopt(Stranger(pid, start_token(pid)))
    team.supervisor.stop()
    team.until(lambda: team.supervisor.gone, "all are gone")
    assert start_token(pid) is None


def test_a_service_has_a_session_of_its_own_and_no_terminal(crew):
    """A terminal's Ctrl-C reaches the manager alone."""
    team = crew(Service("web", OBEDIENT)).started()
    assert os.getsid(team.pid("web")) == team.pid("web")
