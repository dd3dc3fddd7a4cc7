"""With the SDK's batch processor spans leave before their process ends, and nothing keeps it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_kit_worker import Worker, start
from tests.support import free_port, python, redis_server, running
from tests.support.collector import collector

pytestmark = pytest.mark.integration

BATCH = {"FOLLOWTHROUGH_SPAN_PROCESSOR": "batch"}

# The span's end is the program's last act; how long it takes from there to exit is printed.
PROGRAM = """
import atexit, time
started = [0.0]
atexit.register(lambda: print("EXIT", time.monotonic() - started[0], flush=True))
import followthrough
from opentelemetry import trace
followthrough.configure("exiting")
with trace.get_tracer("test").start_as_current_span("last"):
    pass
started[0] = time.monotonic()
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as (_redis, url):
        yield url


@pytest.mark.parametrize("kind", ["closed", "hanging"])
def test_a_collector_that_does_not_answer_delays_no_exit(tmp_path: Path, kind: str) -> None:
    with collector() as spans:
        spans.hanging = True
        endpoint = spans.endpoint if kind == "hanging" else f"http://127.0.0.1:{free_port()}"
        elapsed = _exit_time(tmp_path, endpoint)
        assert elapsed < (2.0 if kind == "hanging" else 0.5)


def test_a_collector_that_answers_gets_the_last_span_at_exit(tmp_path: Path) -> None:
    with collector() as spans:
        assert _exit_time(tmp_path, spans.endpoint) < 2.0
        assert len(spans.named("last")) == 1
        assert spans.services == {"exiting"}


def _exit_time(folder: Path, endpoint: str) -> float:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "FOLLOWTHROUGH_STATE_DIR": str(folder / "state"),
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        **BATCH,
    }
    with running(python("-c", PROGRAM), folder / "program.log", env) as program:
        assert program.wait() == 0
        line = next(x for x in program.output().splitlines() if x.startswith("EXIT"))
        return float(line.split()[1])


@pytest.mark.parametrize("kind", ["closed", "hanging"])
def test_a_worker_stops_in_time_without_a_collector(tmp_path: Path, broker: str, kind: str) -> None:
    with collector() as spans:
        spans.hanging = True
        endpoint = spans.endpoint if kind == "hanging" else f"http://127.0.0.1:{free_port()}"
        with start(tmp_path, broker, endpoint, **BATCH) as (program, state):
            worker = Worker(program, broker, state)
            worker.end(worker.send("kit.add", 1, 1))
            before = time.monotonic()
            program.signal(signal.SIGTERM)
            program.wait()
            # Billiard takes about a second of its own; ours are at most 1 s and 1.5 s.
            assert time.monotonic() - before < 5.0


def test_a_fork_with_an_open_collector_connection_mixes_nothing(tmp_path: Path) -> None:
    """Parent and child each send over a connection of their own."""
    code = """
import os, followthrough
from opentelemetry import trace
followthrough.configure("forking")
tracer = trace.get_tracer("test")
provider = trace.get_tracer_provider()
tracer.start_span("parent before").end()
provider.force_flush()
pid = os.fork()
for n in range(20):
    tracer.start_span("child" if pid == 0 else "parent").end()
    provider.force_flush()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
"""
    with collector() as spans:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint,
            "FOLLOWTHROUGH_STATE_DIR": str(tmp_path),
            **BATCH,
        }
        with running(python("-c", code), tmp_path / "program.log", env) as program:
            assert program.wait() == 0, program.output()
        counts = [len(spans.named(name)) for name in ("parent before", "parent", "child")]
        assert counts == [1, 20, 20]
        assert spans.ports["child"].isdisjoint(spans.ports["parent before"] | spans.ports["parent"])
