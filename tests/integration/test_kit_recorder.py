"""What was recorded arrives, whatever ends the process that recorded it or the agent that sends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.integration.test_kit_worker import Worker, start
from tests.support import (
    HOME,
    answers,
    free_port,
    program_env,
    python,
    redis_server,
    running,
    wait_for,
)
from tests.support.collector import Collector, collector

pytestmark = pytest.mark.integration

TASK = "process kit.add"
PARENT = "b7ad6b7169203331"

# Tells each number through a pipe once its span's end has returned.
ORACLE = """
import os, sys, followthrough
from opentelemetry import trace
followthrough.configure("oracle")
tracer = trace.get_tracer("test")
number = int(sys.argv[1])
while True:
    tracer.start_span("n", attributes={"number": number, "text": "x" * (number % 700)}).end()
    os.write(1, b"%d\\n" % number)
    number += 1
"""
FORKS = """
import os, followthrough
from opentelemetry import trace
followthrough.configure("forks")
tracer = trace.get_tracer("test")
for number in range(1000):
    if (pid := os.fork()) == 0:
        tracer.start_span("fork").end()
        os.kill(os.getpid(), 9) if number % 2 else os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as (_redis, url):
        yield url


def agent_pid(state: Path) -> int:
    return int((state / "agent.lock").read_text())


def end_agent(state: Path) -> None:
    """One that a program has started ends by itself, but later than a test wants to wait."""
    pid = agent_pid(state)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), "the agent ends")


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def numbers(spans: Collector) -> list[int]:
    return [
        attribute.value.int_value
        for span in spans.named("n")
        for attribute in span.attributes
        if attribute.key == "number"
    ]


def env(state: Path, endpoint: str, **more: str) -> dict[str, str]:
    return {
        "FOLLOWTHROUGH_STATE_DIR": str(state),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
        **more,
    }


@pytest.mark.parametrize("how", ["recycled", "warm", "killed", "main", "child", "agent"])
def test_ten_tasks_are_ten_spans_however_their_process_ends(
    tmp_path: Path, broker: str, how: str
) -> None:
    """The SDK alone delivers none: billiard ends children by os._exit, and a kill asks nobody."""
    limit = {"KIT_TASKS_PER_CHILD": "1"} if how == "recycled" else {}
    with (
        collector() as spans,
        start(tmp_path, broker, spans.endpoint, **limit) as (program, state),
    ):
        worker = Worker(program, broker, state, spans)
        ids = [worker.send("kit.add", n, n) for n in range(10)]
        wait_for(lambda: all(worker.ends(i) for i in ids), "ten ends", 60)
        if how == "killed":
            os.killpg(program.pid, signal.SIGKILL)
        elif how == "warm":
            assert program.stop() == 0
        elif how == "main":
            os.kill(program.pid, signal.SIGKILL)
        elif how == "child":
            for pid in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        elif how == "agent":
            before = wait_for(lambda: agent_pid(state), "the agent")
            os.kill(before, signal.SIGKILL)
            # Whoever records next starts another, unless one was started just now.
            wait_for(lambda: worker.send("kit.ignore") and agent_pid(state) != before, "another")
        wait_for(lambda: len(spans.named(TASK)) >= 10, "ten spans", 30)
        assert len(spans.named(TASK)) == 10
        # Slots are taken over from the dead: one for each living process, a few while they change.
        assert len(list((state / "rings").glob("*.spans"))) <= 6
        end_agent(state)


def test_a_killed_agent_is_followed_by_another_and_nothing_is_lost(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with collector() as spans:
        with running(python("-c", ORACLE_SLOW, "0"), tmp_path / "out", env(state, spans.endpoint)):
            for _ in range(2):
                before = len(spans.spans)
                wait_for(lambda n=before: len(spans.spans) > n, "spans arrive")
                os.kill(agent_pid(state), signal.SIGKILL)
            before = len(spans.spans)
            wait_for(lambda n=before: len(spans.spans) > n, "another agent sends", 10)
        told = _numbers_told(tmp_path / "out")
        wait_for(lambda: set(told) <= set(numbers(spans)), "all that was told")
        end_agent(state)


ORACLE_SLOW = ORACLE.replace("import os, sys", "import os, sys, threading").replace(
    "    number += 1", "    number += 1\n    threading.Event().wait(0.01)"
)


def _numbers_told(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split("\n")[:-1]]


def test_a_collector_that_comes_back_gets_what_waited(tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    settings = env(state, f"http://127.0.0.1:{port}")
    with running(python("-c", ORACLE_SLOW, "0"), tmp_path / "out", settings):
        wait_for(lambda: len(_numbers_told(tmp_path / "out")) > 50, "fifty spans")
    told = _numbers_told(tmp_path / "out")
    with collector(port) as spans:
        wait_for(lambda: set(told) <= set(numbers(spans)), "all that waited", 20)
        assert len(numbers(spans)) == len(set(numbers(spans)))
        end_agent(state)


def test_killed_at_any_instant_a_process_loses_nothing_that_it_was_told_is_recorded(
    tmp_path: Path,
) -> None:
    state, told, number = tmp_path / "state", set(), 0
    (tmp_path / "spans").touch()
    with collector() as spans:
        settings = env(state, spans.endpoint, FOLLOWTHROUGH_RING_BYTES=str(1 << 24))
        for turn in range(25):
            found = _recorded_until_killed(number, 0.002 * turn, settings)
            told |= set(found)
            number = (found[-1] if found else number) + 2
        wait_for(lambda: told <= set(numbers(spans)), "all that was told", 30)
        # Each kill may leave one that was recorded and not told.
        assert len(set(numbers(spans)) - told) <= 25
        assert len(numbers(spans)) == len(set(numbers(spans)))
        end_agent(state)


def _recorded_until_killed(number: int, delay: float, settings: dict[str, str]) -> list[int]:
    argv = python("-c", ORACLE, str(number))
    out = subprocess.PIPE
    with subprocess.Popen(argv, cwd=HOME, env=program_env(settings), stdout=out) as program:
        assert program.stdout is not None
        first = program.stdout.readline()
        end = time.monotonic() + delay
        lines = [first]
        while time.monotonic() < end:
            lines.append(program.stdout.readline())
        program.kill()
        lines += program.stdout.readlines()
    return [int(line) for line in lines if line.endswith(b"\n")]


def test_a_thousand_short_lives_leave_the_files_of_those_alive_at_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with collector() as spans:
        with running(python("-c", FORKS), tmp_path / "out", env(state, spans.endpoint)) as program:
            assert program.wait(60) == 0, program.output()
        wait_for(lambda: len(spans.named("fork")) >= 1000, "a thousand spans", 20)
        assert len(spans.named("fork")) == 1000
        assert len({path.name.split(".")[0] for path in (state / "rings").iterdir()}) <= 3
        end_agent(state)


def lost(spans: Collector, name: str) -> dict[str, str]:
    """The error of the only span of this name."""
    (span,) = wait_for(lambda: spans.named(name), f"the span {name}", 30)
    types = [a.value.string_value for a in span.attributes if a.key == "error.type"]
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert 0 < span.start_time_unix_nano < span.end_time_unix_nano
    return {"type": types[-1], "message": span.status.message, "parent": span.parent_span_id.hex()}


def test_a_task_whose_process_is_killed_has_a_span_that_says_why(
    tmp_path: Path, broker: str
) -> None:
    with collector() as spans, start(tmp_path, broker, spans.endpoint) as (program, state):
        worker = Worker(program, broker, state, spans)
        for task in ("kit.kill", "kit.hard"):
            worker.end(worker.send(task))
        killed, late = lost(spans, "process kit.kill"), lost(spans, "process kit.hard")
        assert killed["type"] == "WorkerLostError"
        assert "signal 9 (SIGKILL)" in killed["message"]
        assert late["type"] == "TimeLimitExceeded"
        assert killed["parent"] == late["parent"] == PARENT
        # Nothing tells it a second time.
        worker.end(worker.send("kit.add", 1, 1))
        wait_for(lambda: spans.named(TASK), "a later span")
        assert len(spans.named("process kit.kill")) == len(spans.named("process kit.hard")) == 1
        end_agent(state)


def test_a_task_whose_whole_worker_is_killed_has_a_span(tmp_path: Path, broker: str) -> None:
    with collector() as spans, start(tmp_path, broker, spans.endpoint) as (program, state):
        worker = Worker(program, broker, state, spans)
        # The agent is there once something has ended.
        worker.end(worker.send("kit.add", 1, 1))
        task_id = worker.send("kit.wait")
        wait_for(lambda: _under_way(state, b"process kit.wait"), "the task runs")
        # One that was not yet acknowledged would be given back.
        wait_for(lambda: not Redis.from_url(broker).hlen("unacked"), "it is acknowledged")
        os.killpg(program.pid, signal.SIGKILL)
        assert lost(spans, "process kit.wait")["type"] == "ProcessLost"
        (line,) = wait_for(lambda: _told(state, "task_id", task_id), "the agent tells it")
        assert (line["event"], line["task"], line["service"]) == ("task.lost", "kit.wait", "kit")
        assert worker.counted("kit.wait") == {("lost", "ProcessLost"): 1}
        end_agent(state)


def _told(state: Path, field: str, value: str) -> list[dict[str, Any]]:
    """The agent's lines with this field."""
    texts = (state / "agent.log").read_text().splitlines()
    lines = [json.loads(text) for text in texts if text.startswith("{")]
    return [line for line in lines if line.get(field) == value]


def test_a_request_whose_process_is_killed_has_a_span(tmp_path: Path, broker: str) -> None:
    port, state = free_port(), tmp_path / "state"
    argv = python("-m", "gunicorn", "tests.support.kit_service:web", "--threads", "2")
    argv += ["--bind", f"127.0.0.1:{port}"]
    with (
        collector() as spans,
        running(argv, tmp_path / "web.log", {**env(state, spans.endpoint), "KIT_BROKER": broker}),
    ):
        wait_for(lambda: answers(port), "gunicorn answers")
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            owner = wait_for(lambda: _under_way(state, b"GET /wait"), "the request is under way")
            os.kill(owner, signal.SIGKILL)
            assert lost(spans, "GET /wait")["type"] == "ProcessLost"
        (line,) = wait_for(lambda: _told(state, "outcome", "lost"), "the agent tells it")
        assert (line["event"], line["route"]) == ("request.finished", "/wait")
        end_agent(state)


def _under_way(state: Path, name: bytes) -> int | None:
    """The process that has a span of this name under way."""
    for path in (state / "rings").glob("*.open"):
        raw = path.read_bytes()
        if name in raw:
            return int(struct.unpack_from("@Q", raw, 8)[0])
    return None
