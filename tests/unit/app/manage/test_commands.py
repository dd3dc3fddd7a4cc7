"""The commands where nothing runs, and what they tell of what does."""

import os
import socket
import subprocess
import sys

import pytest

from app.manage import commands
from app.manage.commands import main
from app.manage.processes import start_token
from app.manage.records import Record, RunDirectory

PREFIXES = ("OTEL_", "FOLLOWTHROUGH_", "CELERY_", "APP_", "FLASK_", "SMTP_")


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def run(state):
    directory = RunDirectory(state / "run")
    directory.path.mkdir()
    return directory


def record(name, state="running", **changes):
    fields = {"pid": os.getpid(), "started": start_token(os.getpid()), "since": 0.0, **changes}
    return Record(name=name, state=state, **fields)


def test_down_where_nothing_runs_is_no_error(capsys):
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "not running\n"


def test_restart_where_nothing_runs_says_how_to_start(capsys):
    assert main(["restart"]) == 3
    assert "python -m app up" in capsys.readouterr().out


def test_an_unknown_service_is_refused_with_the_known_ones(capsys):
    assert main(["restart", "wbe"]) == 2
    said = capsys.readouterr().err
    assert said == "no service wbe; there are redis, mail, agent, web, worker, beat\n"


def test_status_shows_what_runs_and_what_does_not(run, capsys):
    run.write(record("manager"))
    run.write(record("web"))
    run.write(record("worker", pid=0, started=None, state="restarting"))
    run.write(record("beat", started="long ago"))
    assert main(["status"]) == 3
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["web"][1:3] == ["running", str(os.getpid())]
    assert rows["web"][-1] == "http://127.0.0.1:5000"
    assert rows["worker"][1] == "restarting"
    assert rows["beat"][1] == "stopped"
    assert rows["redis"][1] == "stopped"


def test_flower_is_known_where_it_runs(run, capsys):
    """Also to a command that isn't told FLOWER=1."""
    run.write(record("flower"))
    assert main(["status"]) == 3
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("flower")]
    assert line.split()[1] == "running"
    assert line.endswith("http://127.0.0.1:5555")
    assert main(["restart", "flower"]) == 3
    assert "not running; start it" in capsys.readouterr().out


def test_what_a_dead_manager_was_about_to_do_is_no_state(run, capsys):
    run.write(record("manager", started="long ago"))
    run.write(record("worker", pid=0, started=None, state="restarting"))
    assert main(["status"]) == 3
    assert "restarting" not in capsys.readouterr().out


@pytest.fixture
def left(run):
    """A stand-in for the mail server, whose manager was killed."""
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    popen = subprocess.Popen(argv, start_new_session=True)
    run.write(record("manager", started="long ago"))
    run.write(record("mail", pid=popen.pid, started=start_token(popen.pid)))
    yield popen
    popen.kill()
    popen.wait()


def test_down_stops_what_a_killed_manager_left(left, run, capsys):
    assert main(["down"]) == 0
    assert start_token(left.pid) is None
    assert run.read("mail") is None
    assert capsys.readouterr().out == (
        f"left by a manager that was killed, now stopped: mail (pid {left.pid})\nstopped mail\n"
    )


def test_up_stops_what_a_killed_manager_left_before_it_looks_at_the_ports(
    left, monkeypatch, capsys
):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("PORT", str(taken.getsockname()[1]))
        assert main(["up"]) == 2
    assert start_token(left.pid) is None
    said = capsys.readouterr()
    assert f"mail (pid {left.pid})" in said.out
    assert "is taken: web needs it for the API; set PORT to move it" in said.err


def test_down_kills_a_manager_that_does_not_answer(run, monkeypatch, capsys):
    monkeypatch.setattr(commands, "STOP_DEADLINE", 0.1)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True)"
    argv = [sys.executable, "-c", f"{stubborn}; time.sleep(60)"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as popen:
        popen.stdout.readline()
        run.write(record("manager", pid=popen.pid, started=start_token(popen.pid)))
        assert main(["down"]) == 0
        assert popen.wait(5) == -9
    said = capsys.readouterr()
    assert "does not answer; it is killed" in said.err
    assert said.out == "stopped the manager\n"


def test_a_process_that_took_over_a_pid_is_not_signalled(run):
    """The pid file names this test's own process, but another start of it."""
    run.write(record("worker", started="long ago"))
    run.write(record("manager", started="long ago"))
    assert main(["down"]) == 0


def test_all_problems_of_the_settings_are_told_at_once(monkeypatch, capsys):
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("MAIL_PORT", "-1")
    assert main(["status"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_up_refuses_a_notifier_that_nobody_offers_before_it_starts_anything(
    state, monkeypatch, capsys
):
    """The agent would find it only when the rest already runs."""
    monkeypatch.setenv("FOLLOWTHROUGH_ALERT_NOTIFIERS", "log,carrier-pigeon")
    assert main(["up"]) == 2
    assert "carrier-pigeon" in capsys.readouterr().err


def test_an_old_name_of_a_setting_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("FLASK_ENV", "testing")
    assert main(["down"]) == 0
    assert capsys.readouterr().err == "FLASK_ENV is an old name; set APP_ENV instead\n"


def test_a_state_directory_that_cannot_be_made_is_a_problem_of_its_setting(
    state, monkeypatch, capsys
):
    (state / "file").touch()
    monkeypatch.setenv("STATE_DIR", str(state / "file" / "var"))
    assert main(["up"]) == 2
    assert capsys.readouterr().err.startswith("STATE_DIR: ")


def test_the_manager_is_small():
    """It lives as long as the service, so it loads neither Flask nor Celery."""
    code = "import sys, app.manage.commands; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = [sys.executable, "-c", code]
    loaded = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout
    heavy = {"flask", "celery", "sqlalchemy", "opentelemetry", "structlog", "redis", "ssl"}
    assert heavy & set(loaded.split()) == set()
