"""How the jobs are shown: a live table on a terminal, elsewhere a line for each that has ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from app.manage.demo.driver import WAITING, Job
from app.manage.output import write

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Watch = Callable[[list[Job]], None]
MARKS = {None: "", True: "ok", False: "NOT"}
COLOURS = {None: "yellow", True: "green", False: "red"}


@contextmanager
def watching(stream: TextIO | None = None) -> Iterator[Watch]:
    """What is called with the jobs, again and again."""
    stream = stream or sys.stdout
    if not stream.isatty():
        yield Lines(stream)
        return
    from rich.console import Console  # noqa: PLC0415  only a terminal needs it
    from rich.live import Live  # noqa: PLC0415

    with Live(console=Console(file=stream), refresh_per_second=10) as live:
        yield lambda jobs: live.update(_table(_fitting(jobs, live.console.height)))
        # The last table may be longer than the screen: it stays, and can be scrolled.
        live.vertical_overflow = "visible"


class Lines:
    """Writes a job's line when it has ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told: set[str] = set()

    def __call__(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.expected is not None and job.step.key not in self._told:
                self._told.add(job.step.key)
                write(self._stream, f"{line(job)}\n")


def line(job: Job) -> str:
    """A job that has ended, in one line."""
    mark = MARKS[job.expected]
    return f"{mark:<3} {job.step.name:<28} {job.state:<8} {job.seconds:6.1f} s  {job.says}"


def _table(jobs: Iterable[Job]) -> Table:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(
        Column("JOB", no_wrap=True),
        Column("STATE", no_wrap=True),
        Column("PROGRESS", width=12),
        Column("SECONDS", justify="right"),
        Column("RESULT", ratio=1, no_wrap=True, overflow="ellipsis"),
        box=None,
        expand=True,
    )
    for job in jobs:
        bar = ProgressBar(total=100, completed=job.percent, width=12) if job.task_id else Text()
        # A text, as what a service answers may look like markup.
        table.add_row(job.step.name, _state(job), bar, f"{job.seconds:.1f}", Text(job.says))
    return table


def _state(job: Job) -> Text:
    from rich.text import Text  # noqa: PLC0415

    return Text(job.state, COLOURS[job.expected] if job.state != WAITING else "dim")


def _fitting(jobs: list[Job], height: int) -> list[Job]:
    """As many jobs as a screen of `height` lines can show while they run: those that do, first."""
    room = max(height - 3, 1)
    if len(jobs) <= room or all(job.expected is not None for job in jobs):
        return jobs
    ranked = sorted(jobs, key=lambda job: (job.expected is True, job.state == WAITING))
    shown = {job.step.key for job in ranked[:room]}
    return [job for job in jobs if job.step.key in shown]
