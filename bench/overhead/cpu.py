"""CPU time of processes, in nanoseconds, and the CPUs that they may use."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator

import psutil


def family(roots: Iterable[int]) -> list[int]:
    """The processes and all that came from them, by pid."""
    found = [psutil.Process(pid) for pid in roots]
    return sorted({p.pid for root in found for p in [root, *root.children(recursive=True)]})


def used(pids: Iterable[int]) -> dict[int, int]:
    """The CPU time that each process has used, with all its threads."""
    return {pid: _used(pid) for pid in pids}


def _used(pid: int) -> int:
    # Linux numbers each process's CPU clock like this (clock_getcpuclockid): nanoseconds, where
    # /proc has hundredths of a second.
    return time.clock_gettime_ns((~pid << 3) | 2)


@contextlib.contextmanager
def on_the_first() -> Iterator[None]:
    """Start programs on the first CPU that is had; goes on upon the others, where there are."""
    had = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, had[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, had)


@contextlib.contextmanager
def on_the_others() -> Iterator[None]:
    """Leave the first CPU to the programs that are measured."""
    had = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, had[1:] or had)
    try:
        yield
    finally:
        os.sched_setaffinity(0, had)
