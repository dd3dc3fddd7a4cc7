"""Tasks for tests, for workers started with `--include tests.support.jobs`."""

from __future__ import annotations

import os
from pathlib import Path

from celery import shared_task

from tests.support import wait_for


def note(directory: str, name: str, line: object) -> None:
    """Append a line that a killed process leaves whole, outside of Redis."""
    with (Path(directory) / name).open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def noted(directory: Path, name: str) -> list[str]:
    path = directory / name
    return path.read_text().splitlines() if path.exists() else []


@shared_task(bind=True, name="test.step")
def step(self, _before=None, *, directory):
    """Note that this id ran."""
    note(directory, "ran", self.request.id)
    return 1


@shared_task(bind=True, name="test.hold")
def hold(self, _before=None, *, directory):
    """Note the process, then run until the file `go` is there."""
    note(directory, "held", os.getpid())
    wait_for((Path(directory) / "go").exists, "the test lets go", 60)
    note(directory, "ran", self.request.id)
    return "held"


@shared_task(bind=True, name="test.die", max_retries=2, default_retry_delay=0)
def die(self, *, directory):
    """Kill the process that runs it, each time."""
    note(directory, "held", os.getpid())
    os.kill(os.getpid(), 9)


@shared_task(bind=True, name="test.fail")
def fail(self, _before=None, *, directory):
    """Fail at once."""
    note(directory, "ran", self.request.id)
    raise ValueError("no luck")


@shared_task(bind=True, name="test.again_later")
def again_later(self, *, directory):
    """Ask to be tried again in a minute."""
    note(directory, "ran", self.request.id)
    raise self.retry(exc=ValueError("not yet"), countdown=60)
