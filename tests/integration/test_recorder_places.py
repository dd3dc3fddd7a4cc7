"""Where the state directory is no good place: the host works on, and it is said what was lost."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from followthrough.recorder import account
from tests.integration.test_kit_recorder import agent_pid, end_agent, env, numbers
from tests.integration.test_recorder_kills import PROGRAMS, more_arrives, program
from tests.support import Program, python, running, wait_for
from tests.support.collector import Collector, collector

pytestmark = pytest.mark.integration

# In namespaces of its own, so that what is mounted goes with the program, also without root.
UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@contextmanager
def mounted(
    folder: Path, options: str, name: str, spans: Collector, script: str = "", **more: str
) -> Iterator[tuple[Program, Path]]:
    """A program whose state directory is a small file system of its own."""
    state = folder / "state"
    state.mkdir()
    shell = f'mount -t tmpfs -o {options} tmpfs "$0" && {script} exec "$@"'
    argv = [*UNSHARE, "sh", "-c", shell, str(state), *python(PROGRAMS, name)]
    with running(argv, folder / "out", env(state, spans.endpoint, **more)) as run:
        yield run, state


def complaints(run: Program) -> list[str]:
    return [line for line in run.output().splitlines() if "spans are" in line]


def test_a_disk_of_one_mebibyte_has_smaller_rings_and_counts_what_they_drop(tmp_path: Path) -> None:
    with collector() as spans:
        spans.hanging = True
        # The program prints the account of its directory, which nobody else can see.
        more = {"SPANS": "5000", "FOLLOWTHROUGH_START_AGENT": "false"}
        with mounted(tmp_path, "size=1m", "work_on_and_account", spans, **more) as (run, _state):
            assert run.wait(60) == 0, run.output()
        assert "DONE" in run.output()
        produced, exported, full, held = map(int, run.output().split("ACCOUNT ")[1].split()[:4])
        assert (produced, exported) == (5000, 0)
        assert full > 0
        assert held > 100
        assert produced == full + held


def test_a_full_disk_is_said_once_and_the_host_works_on(tmp_path: Path) -> None:
    fill = 'dd if=/dev/zero of="$0/full" bs=4k count=1000 2>/dev/null;'
    with (
        collector() as spans,
        mounted(tmp_path, "size=1m", "work_on", spans, fill) as (run, _state),
    ):
        assert run.wait(60) == 0, run.output()
        assert "DONE" in run.output()
        assert len(complaints(run)) == 1, run.output()


def test_in_a_read_only_directory_the_sdks_processor_sends_and_it_is_said_once(
    tmp_path: Path,
) -> None:
    with collector() as spans:
        with mounted(tmp_path, "ro", "work_on", spans, SPANS="50") as (run, _state):
            assert run.wait(60) == 0, run.output()
        assert "DONE" in run.output()
        assert len(complaints(run)) == 1, run.output()
        assert "batch processor" in complaints(run)[0]
        wait_for(lambda: len(spans.named("w")) == 50, "the spans")


def test_a_removed_state_directory_is_made_anew_and_what_was_in_it_counted(tmp_path: Path) -> None:
    with collector() as spans, program(tmp_path, "until_killed", spans) as (run, state):
        more_arrives(spans)
        before = agent_pid(state)
        shutil.rmtree(state)
        wait_for(lambda: (state / "agent.lock").exists() and agent_pid(state) != before, "anew", 20)
        more_arrives(spans)
        assert run.output().count("files in") == 1
        run.signal(signal.SIGKILL)
        wait_for(lambda: account.totals(state).held == 0, "all is sent", 20)
        sums = account.totals(state)
        assert sums.produced == sums.exported + sum(sums.dropped.values())
        assert set(numbers(spans)) <= {
            int(n) for n in run.output().split("\n") if n.isdecimal()
        } | {max(numbers(spans))}
        end_agent(state)


def test_two_containers_on_one_volume_hold_slots_of_their_own(tmp_path: Path) -> None:
    """Each has its own pids, of which some are the same; locks hold between them."""
    container = [*UNSHARE, "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = [*container, *python(PROGRAMS, "until_killed")]
    state = tmp_path / "state"
    with collector() as spans:
        one = env(state, spans.endpoint)
        two = one | {"FIRST": "1000000"}
        with (
            running(argv, tmp_path / "one", one) as first,
            running(argv, tmp_path / "two", two) as second,
        ):
            wait_for(lambda: len([n for n in numbers(spans) if n < 1_000_000]) > 20, "one's", 20)
            wait_for(lambda: len([n for n in numbers(spans) if n >= 1_000_000]) > 20, "two's", 20)
            assert len(list((state / "rings").glob("*.spans"))) >= 2
            first.signal(signal.SIGKILL)
            second.signal(signal.SIGKILL)
        told = {
            int(line)
            for run in (first, second)
            for line in run.output().split("\n")[:-1]
            if line.isdecimal()
        }
        # The agent was in one of the containers and went with it: the next one sends the rest.
        with program(tmp_path, "work_on", spans, SPANS="1") as (run, _state):
            run.wait(30)
        wait_for(lambda: told <= set(numbers(spans)), "all that was told", 30)
        assert len(numbers(spans)) == len(set(numbers(spans))) or _one_request_twice(spans)
        end_agent(state)


def _one_request_twice(spans: Collector) -> bool:
    found = numbers(spans)
    return max(map(found.count, found)) == 2


def test_two_services_in_one_directory_are_told_apart(tmp_path: Path) -> None:
    with collector() as spans:
        for service in ("shop", "mail"):
            with program(tmp_path, "work_on", spans, SERVICE=service, SPANS="5") as (run, state):
                assert run.wait(30) == 0, run.output()
        wait_for(lambda: len(spans.named("w")) == 10, "the spans", 20)
        assert spans.services == {"shop", "mail"}
        assert len(list((state / "rings").glob("*.spans"))) <= 2
        end_agent(state)
