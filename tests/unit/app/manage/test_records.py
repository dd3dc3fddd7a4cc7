"""The run directory, as one command leaves it and another reads it."""

import dataclasses
import os
import subprocess
import sys

import pytest

from app.manage.processes import start_token
from app.manage.records import Record, RunDirectory


@pytest.fixture
def run(tmp_path):
    directory = RunDirectory(tmp_path)
    yield directory
    directory.release()


def mine(name="web", **changes):
    record = Record(name, os.getpid(), start_token(os.getpid()), "running", 12.5, 2)
    return dataclasses.replace(record, **changes)


def test_a_record_is_read_as_it_was_written(run):
    run.write(mine())
    assert run.read("web") == mine()


def test_the_first_line_of_a_pid_file_is_the_pid(run):
    """Scripts read a pid file's first line."""
    run.write(mine())
    assert (run.path / "web.pid").read_text().splitlines()[0] == str(os.getpid())


@pytest.mark.parametrize("text", ["", "x\n{}\n", "12\n", "12\nnot json\n", "12\n[]\n", "12\n{}\n"])
def test_a_damaged_pid_file_counts_as_none(run, text):
    (run.path / "web.pid").write_text(text)
    assert run.read("web") is None
    assert run.services() == []


def test_only_processes_that_live_are_services(run):
    run.write(mine("web"))
    run.write(mine("worker", started="long ago"))
    run.write(mine("manager"))
    assert [record.name for record in run.services()] == ["web"]
    assert run.manager() == mine("manager")


def test_a_manager_that_died_is_none(run):
    run.write(mine("manager", started="long ago"))
    assert run.manager() is None


def test_a_directory_has_one_manager_at_a_time(run):
    """The lock ends with its process, so a killed manager leaves none."""
    assert run.acquire()
    code = (
        "import sys; from pathlib import Path; from app.manage.records import RunDirectory;"
        f"sys.exit(0 if RunDirectory(Path({str(run.path)!r})).acquire() else 9)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 9
    run.release()
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


def test_requests_are_taken_once(run):
    run.request_restart(["web", "worker"])
    assert run.take_requests() == ["web", "worker"]
    assert run.take_requests() == []
