"""Processes seen from outside: which one a pid stands for, and what its group uses."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

PROC = Path("/proc")
LINUX = (PROC / "self" / "stat").exists()


class Process(Protocol):
    """A process under supervision; `started` tells it from a later one with the same pid."""

    pid: int
    started: str | None

    def exited(self) -> bool: ...

    def ending(self) -> str: ...


class Child:
    """A process that this one started, in a session and group of its own."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.started = start_token(popen.pid)

    def exited(self) -> bool:
        return self.popen.poll() is not None

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.popen.returncode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Stranger:
    """A service that an earlier manager left behind: it can be signalled, not waited for."""

    def __init__(self, pid: int, started: str | None) -> None:
        self.pid = pid
        self.started = started

    def exited(self) -> bool:
        return not is_same(self.pid, self.started)

    def ending(self) -> str:
        return "unknown cause"


def is_same(pid: int, started: str | None) -> bool:
    """Whether the process that had `pid` when `started` was taken still lives."""
    return pid > 0 and started is not None and start_token(pid) == started


def start_token(pid: int) -> str | None:
    """When process `pid` began, as an opaque text; None where there is none, or only a zombie."""
    return _linux_token(pid) if LINUX else _ps_token(pid)


def _linux_token(pid: int) -> str | None:
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    # Ticks count from boot, so they tell processes apart within one boot only.
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{fields[19]}"


def _stat(pid: int) -> list[str] | None:
    # The name in parentheses may hold anything; the fields after it start with the state.
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _ps_token(pid: int) -> str | None:
    state, _, began = _ps("-o", "stat=,lstart=", "-p", str(pid)).strip().partition(" ")
    return None if not state or state.startswith("Z") else began.strip()


def _ps(*args: str) -> str:
    # A fixed language, since the start time is compared as text.
    env = {**os.environ, "LC_ALL": "C"}
    command = ["/bin/ps", *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout  # noqa: S603


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """Kill what is left of the process group that `pid` led."""
    # macOS answers "not permitted" for a group that has only zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def memory() -> dict[int, int]:
    """Bytes by process group: its proportional share (PSS) on Linux, resident size elsewhere."""
    used: dict[int, int] = {}
    for group, size in _linux_memory() if LINUX else _ps_memory():
        used[group] = used.get(group, 0) + size
    return used


def _linux_memory() -> Iterator[tuple[int, int]]:
    for entry in PROC.iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None:
            yield int(fields[2]), _share(entry, int(fields[21]))


def _share(entry: Path, resident_pages: int) -> int:
    try:
        lines = (entry / "smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return resident_pages * os.sysconf("SC_PAGE_SIZE")


def _ps_memory() -> Iterator[tuple[int, int]]:
    for line in _ps("-axo", "pgid=,rss=").splitlines():
        group, size = line.split()
        yield int(group), int(size) * 1024
