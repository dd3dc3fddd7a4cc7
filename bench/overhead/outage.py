"""What a request and a task wait for while the collector is away, beside the bare program."""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench.overhead import cpu, fleet
from bench.overhead.fleet import Running, Wanted
from bench.overhead.kits import BY_NAME
from bench.overhead.load import Requests, Tasks
from followthrough.recorder.account import Totals, totals

CHUNKS = 20
REQUESTS = 50  # a chunk
TASKS = 25
WARM_UP = 100
SMALL_RING = (("FOLLOWTHROUGH_RING_BYTES", str(64 * 1024)),)

CONDITIONS = {
    "bare": Wanted("bare", BY_NAME["bare"]),
    "contrib, taking": Wanted("contrib", BY_NAME["contrib"]),
    "ours, taking": Wanted("taking", BY_NAME["ours"]),
    "ours, down": Wanted("down", BY_NAME["ours"], "down"),
    "ours, down, ring of 64 KiB full": Wanted("full", BY_NAME["ours"], "down", SMALL_RING),
    "ours, hanging for 30 s": Wanted("hanging", BY_NAME["ours"], "hanging"),
    "ours, answering 503": Wanted("refusing", BY_NAME["ours"], "refusing"),
    "ours, ten times slower": Wanted("slow", BY_NAME["ours"], "slow"),
}
TITLES = {wanted.name: title for title, wanted in CONDITIONS.items()}


def measure(python: Path) -> dict[str, dict[str, Any]]:
    """The latencies of each condition in milliseconds, and the account of its spans."""
    with (
        tempfile.TemporaryDirectory() as directory,
        cpu.on_the_others(),
        fleet.redis_server(Path(directory)) as url,
        fleet.running(python, Path(directory), url, list(CONDITIONS.values())) as (programs, _),
    ):
        times = _times(programs)
        return {
            title: _figures(times, name) | {"account": _account(Path(directory), name)}
            for name, title in TITLES.items()
        }


def _times(programs: list[Running]) -> dict[str, list[float]]:
    for program in programs:
        _chunk(program, WARM_UP)
    times: dict[str, list[float]] = {program.sink: [] for program in programs}
    # In small chunks by turns, so that what slows the machine down meets all.
    for _ in range(CHUNKS):
        for program in random.sample(programs, len(programs)):
            count = REQUESTS if program.role == "web" else TASKS
            times[program.sink] += _chunk(program, count)
    return times


def _chunk(program: Running, count: int) -> list[float]:
    if program.role == "web":
        return Requests(program.port, "/json").run(count, connections=1)
    with contextlib.closing(Tasks(program.broker, program.backend)) as tasks:
        return tasks.one_by_one(count)


def _figures(times: dict[str, list[float]], name: str) -> dict[str, float]:
    figures = {}
    for label, role in (("json", "web"), ("task", "worker")):
        hundredths = statistics.quantiles(times[f"{name}-{role}"], n=100)
        figures |= {f"{label}_p50": hundredths[49] * 1000, f"{label}_p99": hundredths[98] * 1000}
    return figures


def _account(directory: Path, name: str) -> str:
    sums = [totals(directory / f"{name}-{role}.state") for role in ("web", "worker")]
    return "; ".join(_told(each) for each in sums if each.produced)


def _told(sums: Totals) -> str:
    dropped = sum(sums.dropped.values())
    return f"{sums.produced} = {sums.exported} sent + {dropped} dropped + {sums.held} held"
