"""Nothing that was recorded is lost, and nothing hangs, however processes begin, fork and end."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from followthrough.recorder import account, inflight
from followthrough.recorder.places import EVENTS
from tests.integration.test_kit_recorder import agent_pid, end_agent, env, numbers
from tests.support import HOME, Program, python, running, wait_for
from tests.support.collector import Collector, collector

pytestmark = pytest.mark.integration

LARGE = {"FOLLOWTHROUGH_RING_BYTES": str(1 << 26)}
PROGRAMS = str(HOME / "tests" / "integration" / "recorder_programs.py")


@contextmanager
def program(
    folder: Path, name: str, spans: Collector, **more: str
) -> Iterator[tuple[Program, Path]]:
    state = folder / "state"
    with running(python(PROGRAMS, name), folder / "out", env(state, spans.endpoint, **more)) as run:
        yield run, state


def test_a_thousand_kills_in_the_write_loop_lose_nothing_that_was_told(tmp_path: Path) -> None:
    """The children say through a pipe which spans have ended, so that no part of ours tells it."""
    with collector() as spans:
        with program(tmp_path, "kills", spans, **LARGE) as (
            run,
            state,
        ):
            assert run.wait(150) == 0, run.output()
        told = set(itertools.chain.from_iterable(_told(run.output())))
        assert run.output().count("TOLD") == 1000
        assert len(told) > 10_000
        # Also what the last of them had under way.
        wait_for(lambda: _owners(state) <= {agent_pid(state)}, "the dead are told", 20)
        wait_for(lambda: account.totals(state).held == 0, "all is sent", 120)
        arrived = numbers(spans)
        assert told <= set(arrived)
        assert len(arrived) == len(set(arrived))
        # Of each child one may have been recorded and not yet told.
        assert len(set(arrived) - told) <= 1000
        sums = account.totals(state)
        assert sums.produced == sums.exported + sum(sums.dropped.values())
        assert sums.exported == len(spans.spans)
        assert len(spans.spans) == len(arrived) + len(spans.named("warm"))
        assert sum(sums.dropped.values()) == sums.dropped["interrupted"]
        assert spans.broken == 0
        end_agent(state)


def _owners(state: Path) -> set[int]:
    """The processes, living or dead, of which there is a table of what is under way."""
    found = set()
    for path in (*(state / "rings").glob("*.open"), *(state / "rings").glob("*.left")):
        # One that is set aside just now is met at the next look.
        with suppress(FileNotFoundError):
            found.add(int(inflight.START.unpack_from(path.read_bytes())[1]))
    return found


def _told(output: str) -> Iterator[range]:
    for line in output.splitlines():
        if line.startswith("TOLD "):
            first, last = map(int, line.split()[1:])
            yield range(first, last + 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fork_in_thread", {"child": 100}),
        ("fork_with_held_locks", {"parent": 1, "child": 10}),
        ("spawn", {"child": 2}),
        ("execv", {"before": 1, "cut off": 1, "after": 1}),
    ],
)
def test_each_way_to_begin_a_process_records(
    tmp_path: Path, name: str, expected: dict[str, int]
) -> None:
    with collector() as spans:
        # What the busy threads record must not fill the ring on a machine that is slow to send.
        with program(tmp_path, name, spans, **LARGE) as (run, state):
            assert run.wait(60) == 0, run.output()
            assert "DONE" in run.output()
        for span, count in expected.items():
            wait_for(lambda s=span, n=count: len(spans.named(s)) >= n, f"{count} {span}", 20)
            assert len(spans.named(span)) == count
        wait_for(lambda: account.totals(state).held == 0, "all is sent", 20)
        assert not any(account.totals(state).dropped.values())
        end_agent(state)


def test_two_hundred_greenlets_at_once_are_told_when_their_process_is_killed(
    tmp_path: Path,
) -> None:
    with collector() as spans:
        with program(tmp_path, "greenlets", spans) as (run, state):
            assert run.wait(60) == -signal.SIGKILL, run.output()
        wait_for(lambda: len(spans.named("green")) >= 200, "two hundred spans", 20)
        lost = [span for span in spans.named("green") if span.status.code]
        assert (len(spans.named("green")), len(lost)) == (200, 100)
        end_agent(state)


def test_a_soft_time_limit_at_any_instant_arrives_and_loses_no_place(tmp_path: Path) -> None:
    with collector() as spans:
        with program(tmp_path, "signals", spans, **LARGE) as (
            run,
            state,
        ):
            assert run.wait(120) == 0, run.output()
        arrived, whole, kept = map(int, run.output().split("DONE ")[1].split())
        assert arrived == 1000
        # Some hundred thousand spans, which this process decodes.
        wait_for(lambda: account.totals(state).held == 0, "all is sent", 120)
        assert spans.named("last")
        found = [
            attribute.value.int_value
            for span in spans.named("s")
            for attribute in span.attributes
            if attribute.key == "number"
        ]
        assert set(range(whole)) <= set(found)
        # A span whose start was cut off is nobody's to end; it is told when its process is gone.
        assert kept < 5
        assert spans.broken == 0
        end_agent(state)


def test_an_alert_of_a_process_that_is_killed_at_once_is_delivered_by_a_later_agent(
    tmp_path: Path,
) -> None:
    off = {"FOLLOWTHROUGH_START_AGENT": "false"}
    with collector() as spans:
        with program(tmp_path, "alert", spans, **off) as (run, state):
            assert run.wait(30) == -signal.SIGKILL, run.output()
        assert account.totals(state, EVENTS).held == 1
        assert not list((state / "alerts").glob("*"))
        argv = python("-m", "followthrough.cli", "agent")
        with running(argv, tmp_path / "agent.out", env(state, spans.endpoint)) as agent:
            sent = state / "alerts" / "sent"
            wait_for(lambda: list(sent.glob("*.json")), "the alert is delivered", 20)
            agent.signal(signal.SIGKILL)
        with running(argv, tmp_path / "agent.out", env(state, spans.endpoint)) as agent:
            wait_for(lambda: agent.output().count("agent.ready") == 2, "another agent", 20)
            assert agent.output().count("alert.delivered") == 1
        assert account.totals(state, EVENTS).exported == 1


def test_another_agent_takes_over_within_two_seconds(tmp_path: Path) -> None:
    with collector() as spans, program(tmp_path, "until_killed", spans) as (_run, state):
        _, median, _ = sorted(_seconds_without_agent(spans, state) for _ in range(3))
        assert median < 2.0
        end_agent(state)


def more_arrives(spans: Collector) -> None:
    before = len(spans.spans)
    wait_for(lambda: len(spans.spans) > before, "spans arrive", 20)


def _seconds_without_agent(spans: Collector, state: Path) -> float:
    more_arrives(spans)
    before = agent_pid(state)
    os.kill(before, signal.SIGKILL)
    begin = time.monotonic()
    wait_for(lambda: agent_pid(state) != before, "another agent", 20)
    return time.monotonic() - begin


def test_an_agent_killed_between_send_and_note_repeats_that_request_alone(tmp_path: Path) -> None:
    with collector() as spans:
        with program(tmp_path, "until_killed", spans) as (run, state):
            for _ in range(3):
                more_arrives(spans)
                spans.before_answer = lambda: os.kill(agent_pid(state), signal.SIGKILL)
                wait_for(lambda: spans.before_answer is None, "the agent is killed", 20)
            more_arrives(spans)
        told = {int(line) for line in run.output().split("\n")[:-1] if line.isdecimal()}
        wait_for(lambda: told <= set(numbers(spans)), "all that was told", 30)
        wait_for(lambda: account.totals(state).held == 0, "all is sent", 30)
        twice = {n for n in numbers(spans) if numbers(spans).count(n) > 1}
        assert twice == set(itertools.chain.from_iterable(spans.unanswered))
        assert max(map(numbers(spans).count, told)) == 2
        end_agent(state)


def test_at_its_stop_an_agent_waits_a_bounded_time_for_a_collector_that_hangs(
    tmp_path: Path,
) -> None:
    with collector() as spans:
        spans.hanging = True
        with program(tmp_path, "work_on", spans, SPANS="10") as (run, state):
            assert run.wait(30) == 0, run.output()
        wait_for(lambda: spans.requests, "a request hangs", 20)
        begin = os.times().elapsed
        end_agent(state)
        assert os.times().elapsed - begin < 8
        assert account.totals(state).held == 10
