"""How many files ten thousand short-lived processes leave, and what became of their spans."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from followthrough.recorder.account import totals
from tests.support import free_port, python, running, wait_for
from tests.support.collector import collector

LIVES = 10_000
PROGRAM = f"""
import os, followthrough
from opentelemetry import trace
followthrough.configure("lives")
tracer = trace.get_tracer("bench")
for number in range({LIVES}):
    if (pid := os.fork()) == 0:
        tracer.start_span("life").end()
        os.kill(os.getpid(), 9) if number % 2 else os._exit(0)
    os.waitpid(pid, 0)
"""


def main() -> None:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, collector() as spans:
        state, log = Path(directory, "state"), Path(directory, "log")
        env = {
            "FOLLOWTHROUGH_STATE_DIR": str(state),
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
            "FOLLOWTHROUGH_START_AGENT": "false",
        }
        with (
            running(python("-m", "followthrough.cli", "agent"), Path(directory, "agent"), env),
            running(python("-c", PROGRAM), log, env) as program,
        ):
            if program.wait(600) != 0:
                raise RuntimeError(program.output())
            wait_for(lambda: totals(state).held == 0, "all is sent", 60)
            report(state, len(spans.named("life")), time.monotonic() - begin)


def report(state: Path, received: int, seconds: float) -> None:
    files = sum(1 for path in state.rglob("*") if path.is_file())
    slots = sum(1 for _ in (state / "slots").iterdir())
    account = totals(state)
    print(f"{LIVES} processes one after the other, every second one killed, in {seconds:.0f} s")
    print(f"  slots {slots}, files {files}; at most three processes lived at once")
    print(f"  spans: {account.produced} recorded, {account.exported} exported, {received} received")


if __name__ == "__main__":
    main()
