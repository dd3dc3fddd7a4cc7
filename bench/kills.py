"""What `kill -9` of Redis, of a pool child and of a whole worker does to accepted tasks."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.callers import Callers, is_worker, processes_of
from tests.support.service import Service, running_service

ROUNDS = 5
PATIENCE = 20.0


def main() -> None:
    kinds = {
        "redis": lambda s: processes_of(s, lambda p: "valkey" in p.name() or "redis" in p.name()),
        "pool child": lambda s: workers(s)[1:],
        "whole worker": workers,
    }
    for name, victims in kinds.items():
        with (
            tempfile.TemporaryDirectory() as directory,
            running_service(Path(directory) / "state") as (service, _),
        ):
            report(name, service, victims)


def report(name: str, service: Service, victims: Callable[[Service], list[psutil.Process]]) -> None:
    accepted = late = 0
    for _ in range(ROUNDS):
        with Callers(service, threads=4, pause=0.0) as callers:
            for process in victims(service):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            callers.flows(50)
        accepted += len(callers.accepted)
        late += len(unfinished(service, callers.accepted))
    print(
        f"kill -9 of {name:13} {ROUNDS} times: {accepted} accepted, "
        f"{late} not done {PATIENCE:.0f} s later"
    )


def workers(service: Service) -> list[psutil.Process]:
    """The worker's main process first, then its children."""
    found = processes_of(service, is_worker)
    return sorted(found, key=lambda process: process.parent() in found)


def unfinished(service: Service, accepted: list[str]) -> list[str]:
    end = time.monotonic() + PATIENCE
    left = accepted
    while left and time.monotonic() < end:
        left = [
            t for t in left if service.request(f"/api/task-status/{t}").body["state"] != "SUCCESS"
        ]
    return left


if __name__ == "__main__":
    main()
