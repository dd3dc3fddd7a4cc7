"""What the whole service costs when it does nothing, and how long it takes to start and stop."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import psutil

from tests.support import wait_for
from tests.support.service import Service

RUNS = 5
IDLE_SECONDS = 20.0
MIB = 1024**2


def main() -> None:
    starts, stops = [], []
    for run in range(RUNS):
        with tempfile.TemporaryDirectory() as directory:
            service = Service(Path(directory) / "state")
            begin = time.monotonic()
            program = service.manage("up")
            wait_for(lambda p=program: "curl" in p.output(), "ready", 60)
            starts.append(time.monotonic() - begin)
            if run == 0:
                report_idle(psutil.Process(program.pid))
            begin = time.monotonic()
            program.stop()
            stops.append(time.monotonic() - begin)
    print(f"ready after      {spread(starts)} s")
    print(f"stopped after    {spread(stops)} s")


def report_idle(root: psutil.Process) -> None:
    family = [root, *root.children(recursive=True)]
    before = sum(cpu(process) for process in family)
    time.sleep(IDLE_SECONDS)
    used = sum(cpu(process) for process in family) - before
    memory = [process.memory_full_info() for process in family]
    print(f"processes        {len(family)}")
    print(f"idle CPU         {100 * used / IDLE_SECONDS:.1f} % of a core")
    print(f"resident memory  {sum(m.rss for m in memory) / MIB:.0f} MiB, shared pages counted each")
    print(f"own memory       {sum(m.pss for m in memory) / MIB:.0f} MiB, shared pages counted once")


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
