"""Which process a pid stands for, and what is left of its group."""

import os
import signal
import subprocess
import sys

import pytest

from app.manage import processes
from app.manage.processes import Child, Stranger, is_same, kill_group, memory, start_token
from tests.support import wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def sleeper():
    popen = subprocess.Popen(SLEEP, start_new_session=True)
    yield popen
    popen.kill()
    popen.wait()


def test_a_process_keeps_its_token(sleeper):
    token = start_token(sleeper.pid)
    assert token is not None
    assert start_token(sleeper.pid) == token
    assert is_same(sleeper.pid, token)


def test_another_process_with_the_same_pid_is_told_apart(sleeper):
    assert not is_same(sleeper.pid, "another start")
    assert not is_same(sleeper.pid, None)
    assert not is_same(0, start_token(0))


def test_two_processes_started_apart_have_different_tokens(sleeper):
    assert start_token(sleeper.pid) != start_token(os.getpid())


def test_a_zombie_counts_as_gone(sleeper):
    """Where nobody collects the dead, as in a container, a stopped service is stopped."""
    sleeper.kill()
    wait_for(lambda: start_token(sleeper.pid) is None, "the zombie counts as gone")
    assert sleeper.returncode is None


def test_a_process_that_is_not_our_child_is_watched_by_its_token(sleeper):
    stranger = Stranger(sleeper.pid, start_token(sleeper.pid))
    assert not stranger.exited()
    sleeper.kill()
    wait_for(stranger.exited, "the end is noticed")


@pytest.mark.parametrize(
    ("code", "words"),
    [("raise SystemExit(3)", "exit code 3"), ("import os; os.kill(os.getpid(), 9)", "SIGKILL")],
)
def test_the_end_of_a_child_is_told_in_words(code, words):
    child = Child(subprocess.Popen([sys.executable, "-c", code]))
    wait_for(child.exited, "the child ends")
    assert words in child.ending()


def test_killing_a_group_reaches_grandchildren(tmp_path):
    note = tmp_path / "pid"
    code = f"""
import pathlib, subprocess, time
child = subprocess.Popen({SLEEP})
pathlib.Path({str(note)!r}).write_text(f"{{child.pid}};")
time.sleep(60)
"""
    leader = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    grandchild = int(
        wait_for(lambda: note.exists() and ";" in note.read_text() and note, "a grandchild")
        .read_text()
        .strip(";")
    )
    leader.send_signal(signal.SIGKILL)
    leader.wait()
    assert start_token(grandchild)
    kill_group(leader.pid)
    wait_for(lambda: start_token(grandchild) is None, "the grandchild is gone")


def test_killing_a_group_that_is_gone_does_nothing(sleeper):
    sleeper.kill()
    sleeper.wait()
    kill_group(sleeper.pid)


def test_memory_is_counted_by_process_group(sleeper):
    used = wait_for(lambda: memory().get(sleeper.pid), "the sleeper's memory")
    assert 1024**2 < used < 1024**3


def test_without_proc_ps_tells_the_same(monkeypatch):
    """macOS has no /proc; this is what its ps says."""
    said = {
        ("-o", "stat=,lstart=", "-p", "7"): "Ss   Sun Nov 22 19:45:30 2026    \n",
        ("-o", "stat=,lstart=", "-p", "8"): "Z    Sun Nov 22 19:45:30 2026    \n",
        ("-o", "stat=,lstart=", "-p", "9"): "",
        ("-axo", "pgid=,rss="): "    7  2048\n    7  1024\n  501    16\n",
    }
    monkeypatch.setattr(processes, "LINUX", False)
    monkeypatch.setattr(processes, "_ps", lambda *args: said[args])
    assert start_token(7) == "Sun Nov 22 19:45:30 2026"
    assert start_token(8) is None
    assert start_token(9) is None
    assert memory() == {7: 3 * 1024**2, 501: 16 * 1024}
