"""Turns: each kit's load in random order, its processes' CPU time, and what its sink got."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.overhead import cpu, fleet
from bench.overhead.figures import Turn, problem
from bench.overhead.fleet import Running, Sinks, Wanted

# How many of each operation a turn has: somewhat more than a second of bare work.
COUNTS = {"json": 1500, "publish": 600, "task": 600}
ROLES = {"json": "web", "publish": "web", "task": "worker"}
# How many kinds of spans there are at least: a publishing request is two.
LEAST = {"json": 1, "publish": 2, "task": 1}
# Seconds after the load for which CPU time counts, so that batches are sent within it: the longest
# that a kit waits by default is 5.
WATCHED = 6.5


@dataclass
class _Open:
    """A turn whose spans may still be under way."""

    program: Running
    operation: str
    round: int
    before: dict[int, int]
    due: float
    load_problem: str = ""


def measure(python: Path, wanted: list[Wanted], blocks: int, rounds: int) -> list[Turn]:
    """All turns of some blocks of rounds; the programs are started anew for each block."""
    turns = []
    for block in range(blocks):
        with (
            tempfile.TemporaryDirectory() as directory,
            cpu.on_the_others(),
            fleet.redis_server(Path(directory)) as url,
            fleet.running(python, Path(directory), url, wanted) as (programs, sinks),
        ):
            turns += Block(programs, sinks, block * rounds).run(rounds)
    return turns


class Block:
    """Some rounds of turns upon the same processes."""

    def __init__(self, programs: list[Running], sinks: Sinks, first: int) -> None:
        self._programs = programs
        self._sinks = sinks
        self._first = first
        self._open: list[_Open] = []

    def run(self, rounds: int) -> list[Turn]:
        self._warm_up()
        turns: list[Turn] = []
        for number in range(rounds):
            waiting = [(p, o) for p in self._programs for o in COUNTS if ROLES[o] == p.role]
            random.shuffle(waiting)
            while waiting:
                turns += self._closed()
                if chosen := self._next(waiting):
                    waiting.remove(chosen)
                    self._open.append(self._begin(*chosen, self._first + number))
                else:
                    time.sleep(0.05)
        while self._open:
            turns += self._closed()
            time.sleep(0.05)
        return turns

    def _warm_up(self) -> None:
        for program in self._programs:
            for operation, role in ROLES.items():
                if role == program.role:
                    program.load(operation, COUNTS[operation] // 3)
        time.sleep(WATCHED)
        for program in self._programs:
            self._counts(program)

    def _next(self, waiting: list[tuple[Running, str]]) -> tuple[Running, str] | None:
        busy = {turn.program.sink for turn in self._open}
        return next((each for each in waiting if each[0].sink not in busy), None)

    def _begin(self, program: Running, operation: str, number: int) -> _Open:
        before = cpu.used(cpu.family(program.roots))
        program.load(operation, COUNTS[operation])
        return _Open(program, operation, number, before, time.monotonic() + WATCHED)

    def _closed(self) -> Iterator[Turn]:
        for turn in [turn for turn in self._open if turn.due <= time.monotonic()]:
            self._open.remove(turn)
            yield self._close(turn)

    def _close(self, turn: _Open) -> Turn:
        program, count = turn.program, COUNTS[turn.operation]
        after = cpu.used(cpu.family(program.roots))
        spans = self._counts(program)
        if after.keys() != turn.before.keys():
            trouble = "its processes changed"
        elif program.kit.protocol:
            trouble = problem(spans, count, LEAST[turn.operation])
        else:
            trouble = ""
        nanoseconds = sum(after[pid] - turn.before.get(pid, 0) for pid in after)
        return Turn(
            program.name, turn.operation, turn.round, nanoseconds / 1000 / count, spans, trouble
        )

    def _counts(self, program: Running) -> dict[str, int]:
        return self._sinks.counts(program.sink) if program.kit.protocol else {}


def load_average() -> float:
    return os.getloadavg()[0]
