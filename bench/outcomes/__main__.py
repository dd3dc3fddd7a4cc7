"""How kits tell the ends of tasks: each way to end, in a worker of its own, and what came of it.

python -m bench.outcomes --python PEERS_PYTHON; `make bench-outcomes` makes the environment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.outcomes import scenarios, table
from bench.outcomes.scenarios import Scenario
from bench.outcomes.worker import PATIENCE, Worker
from bench.overhead import kits, surroundings
from bench.overhead.fleet import Sinks, redis_server
from bench.overhead.kits import Kit
from tests.support import Program, wait_for

HOME = Path(__file__).parents[2]
RESULTS = HOME / "bench" / "results"
# Seconds for what a kit still sends or finds out: a killed child has 10 to hand in its result.
WATCHED = 15.0
CELERY = ["-m", "celery", "-A", "bench.outcomes.program:celery", "worker", "-c", "1"]
CELERY += ["--without-mingle", "--without-gossip", "-l", "warning"]


def main() -> None:
    arguments = _parser().parse_args()
    python = arguments.python.absolute()
    chosen = [kit for kit in kits.ALL if kit.protocol and kit.name in arguments.kits]
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as url:
        bench = Bench(python, Path(directory), url)
        with ThreadPoolExecutor(arguments.jobs) as pool:
            columns = pool.map(bench.column, chosen)
            told = {kit.name: column for kit, column in zip(chosen, columns, strict=True)}
    result = {"surroundings": surroundings.describe(python, chosen), "told": told}
    print(table.markdown(result))
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / "outcomes.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.page:
        table.write(arguments.page, result)


class Bench:
    """Runs scenarios, each in a worker of its own."""

    def __init__(self, python: Path, directory: Path, redis_url: str) -> None:
        self._python = python
        self._directory = directory
        self._redis = redis_url
        self._databases = iter(range(1, 1000))

    def column(self, kit: Kit) -> dict[str, str]:
        """What a kit makes of each scenario."""
        told = {each.title: self._told(kit, each) for each in scenarios.ALL}
        return told | {scenarios.SURVIVES: self._survives(kit)}

    def _told(self, kit: Kit, scenario: Scenario) -> str:
        wanted = f"{scenarios.PREFIX}.{scenario.task}"
        seen: list[bool] = []
        with self._worker(kit, dict(scenario.env)) as (worker, sinks):
            scenario.provoke(worker, scenario.task)

            def is_too_much() -> bool:
                seen.extend(error for task, error in sinks.tasks(kit.name) if task == wanted)
                return len(seen) > scenario.runs

            # What is told twice is told late.
            with contextlib.suppress(AssertionError):
                wait_for(is_too_much, "spans", WATCHED)
        return scenarios.judge(scenario, seen)

    def _survives(self, kit: Kit) -> str:
        with self._worker(kit, {}) as (worker, _):
            worker.push(b"x")
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not worker.is_alive(), "it ends", WATCHED)
            return "yes" if worker.is_alive() else "no"

    @contextlib.contextmanager
    def _worker(self, kit: Kit, more: dict[str, str]) -> Iterator[tuple[Worker, Sinks]]:
        number = next(self._databases)
        folder = self._directory / str(number)
        folder.mkdir()
        broker = f"{self._redis}/{number}"
        with contextlib.ExitStack() as stack:
            sinks = Sinks(self._python, {kit.name: f"{kit.protocol}:taking"})
            stack.callback(sinks.stop)
            env = {"BENCH_KIT": kit.name, "BENCH_BROKER": broker, "BENCH_BACKEND": broker}
            env |= kit.env(sinks.ports[kit.name], folder / "state") | more
            if kit.name == "ours":
                argv = [str(self._python), "-m", "followthrough.cli", "agent"]
                agent = Program(argv, folder / "agent.log", env, cwd=folder)
                stack.callback(agent.stop)
            launcher = [str(self._python.with_name(kit.launcher))] if kit.launcher else []
            argv = [*launcher, str(self._python), *CELERY, "-n", f"{kit.name}{number}@bench"]
            program = Program(argv, folder / "worker.log", env, cwd=folder)
            stack.callback(program.stop)
            worker = Worker(program, broker)
            stack.callback(worker.close)
            wait_for(worker.answers, "the worker is ready", PATIENCE * 3)
            yield worker, sinks


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.outcomes")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--kits", nargs="*", default=[kit.name for kit in kits.ALL])
    parser.add_argument("--jobs", type=int, default=5, help="kits at once")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, help="write the table between its marks there")
    return parser


if __name__ == "__main__":
    main()
