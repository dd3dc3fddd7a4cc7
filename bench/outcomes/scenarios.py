"""The ways a task may end, how each is brought about, and what a trace should then say."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.outcomes.worker import Worker

PREFIX = "bench.outcomes.program"
SEVERAL = 10


@dataclass(frozen=True)
class Scenario:
    """`runs` attempts are to be seen, each with an error or without; None where either will do."""

    title: str
    task: str
    provoke: Callable[[Worker, str], None]
    runs: int = 1
    is_error: bool | None = True
    env: tuple[tuple[str, str], ...] = ()


def judge(scenario: Scenario, seen: list[bool]) -> str:
    """What the runs that came say of a scenario: `yes`, or what is wrong with them."""
    if not seen:
        return "no span"
    if len(seen) != scenario.runs:
        return f"{len(seen)} of {scenario.runs}" if scenario.runs > 1 else f"{len(seen)} spans"
    wrong = scenario.is_error is not None and any(each != scenario.is_error for each in seen)
    if wrong:
        return "as success" if scenario.is_error else "as failure"
    return "yes"


def _send(worker: Worker, task: str, **options: Any) -> str:
    return worker.send(f"{PREFIX}.{task}", **options)


def _once(worker: Worker, task: str) -> None:
    worker.wait_for_end(_send(worker, task))


def _several(worker: Worker, task: str) -> None:
    ids = [_send(worker, task) for _ in range(SEVERAL)]
    for each in ids:
        worker.wait_for_end(each)


def _several_then_stop(worker: Worker, task: str) -> None:
    _several(worker, task)
    worker.stop()


def _past_its_time(worker: Worker, task: str) -> None:
    _send(worker, task, expires=-1)


def _revoked_while_away(worker: Worker, task: str) -> None:
    worker.revoke(task_id := "0" * 8 + "-0000-4000-8000-000000000001")
    _send(worker, task, task_id=task_id)


def _terminated(name: str) -> Callable[[Worker, str], None]:
    def provoke(worker: Worker, task: str) -> None:
        worker.revoke(worker.running(_send(worker, task)), terminate=True, signal=name)

    return provoke


def _not_to_be_decoded(worker: Worker, task: str) -> None:
    worker.send_raw(f"{PREFIX}.{task}", b"{not json")


def _main_is_killed(worker: Worker, task: str) -> None:
    worker.running(_send(worker, task))
    os.killpg(worker.pid, signal.SIGKILL)


ALL = (
    Scenario("success", "success", _once, is_error=False),
    Scenario("failure", "failure", _once),
    Scenario("retry, then success", "retry", _once, runs=2, is_error=False),
    Scenario("Ignore", "ignore", _once, is_error=False),
    Scenario("Reject", "reject", _once, is_error=None),
    Scenario("revoked before it arrived", "revoked", _revoked_while_away, is_error=None),
    Scenario("expired", "expired", _past_its_time, is_error=None),
    Scenario("terminated by SIGTERM", "terminated", _terminated("SIGTERM")),
    Scenario("terminated by SIGKILL", "terminated_hard", _terminated("SIGKILL")),
    Scenario("soft time limit", "soft_limit", _once),
    Scenario("hard time limit", "hard_limit", _once),
    Scenario("child killed", "killed", _once),
    Scenario("child killed, late acknowledgement", "killed_late", _once),
    Scenario("sys.exit in a task", "left", _once),
    Scenario("result not encodable", "not_encodable", _once),
    Scenario("not registered", "unregistered", _once),
    Scenario("body not decodable", "undecodable", _not_to_be_decoded),
    Scenario("MemoryError", "memory_error", _once),
    Scenario("whole worker killed", "main_killed", _main_is_killed),
    Scenario(
        "10 tasks, a child each",
        "recycled",
        _several,
        runs=SEVERAL,
        is_error=False,
        env=(("BENCH_TASKS_PER_CHILD", "1"),),
    ),
    Scenario("10 tasks, then a warm stop", "stopped", _several_then_stop, SEVERAL, is_error=False),
)
SURVIVES = "garbage in the queue: the worker lives"
