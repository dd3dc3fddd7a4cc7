"""Sends the steps' requests as soon as what they need is there, and watches their tasks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.manage.demo.step import Step
from app.manage.demo.template import fill, look_up, names, words
from app.manage.demo.transport import Answer, Request, Transport

WAIT = 0.5  # seconds the service may wait with its answer about the oldest task
ENDED = ("SUCCESS", "FAILURE", "REVOKED")
WAITING, SENT = "waiting", "sent"

Clock = Callable[[], float]


@dataclass
class Job:
    """A step and how far it is; `expected` says whether it ended as it should, None until then."""

    step: Step
    state: str = WAITING
    expected: bool | None = None
    says: str = ""
    percent: float = 0.0
    began: float = 0.0
    seconds: float = 0.0
    task_id: str = ""
    trace_id: str = ""


class Driver:
    """Drives a plan; `known` is what the plan's places may name besides earlier steps."""

    def __init__(
        self,
        plan: Iterable[Step],
        transport: Transport,
        known: Mapping[str, Any],
        files: Mapping[str, bytes],
        clock: Clock = time.monotonic,
    ) -> None:
        self.jobs = [Job(step) for step in plan]
        self._ask = transport
        self._known = dict(known)
        self._files = files
        self._clock = clock

    def run(self, limit: float, watch: Callable[[list[Job]], None]) -> bool:
        """Drive all to its end, `limit` seconds at most; whether all went as expected."""
        end = self._clock() + limit
        while any(job.expected is None for job in self.jobs) and self._clock() < end:
            self._begin_what_can()
            watch(self.jobs)
            self._look()
            watch(self.jobs)
        for job in self.jobs:
            if job.expected is None:
                self._end(job, f"not finished after {limit:.0f} s", expected=False)
        watch(self.jobs)
        return all(job.expected for job in self.jobs)

    def _begin_what_can(self) -> None:
        for job in [job for job in self.jobs if job.state == WAITING and job.expected is None]:
            wanted = needs(job.step)
            needed = [each for each in self.jobs if each.step.key in wanted]
            if failed := [each.step.name for each in needed if each.expected is False]:
                self._end(job, f"left out, as it needs: {', '.join(failed)}", expected=False)
            elif all(each.expected for each in needed):
                self._begin(job)

    def _begin(self, job: Job) -> None:
        step, job.began = job.step, self._clock()
        try:
            request = self._request(step)
        except LookupError as error:
            return self._end(job, f"no answer has {error.args[0]}", expected=False)
        answer = self._answered(job, request)
        if answer is None:
            return None
        body = answer.body if isinstance(answer.body, dict) else {}
        job.task_id, job.trace_id = body.get("task_id", ""), body.get("trace_id", "")
        if answer.status == step.status and step.ends:
            job.state = SENT
        else:
            self._conclude(job, answer.body, f"HTTP {answer.status}", f"HTTP {step.status}")
        return None

    def _request(self, step: Step) -> Request:
        files = {"file": (step.file, self._files[step.file])} if step.file else {}
        path, body, headers = (
            fill(each, self._known) for each in (step.path, step.json, step.headers)
        )
        return Request(step.method, path, body, step.form, files, headers)

    def _look(self) -> None:
        """Look at all tasks that run; the service waits for the first, so this never spins."""
        wait = f"?wait={WAIT}"
        for job in [job for job in self.jobs if job.expected is None and job.task_id]:
            headers = {"traceparent": _untraced()}
            request = Request("GET", f"/api/task-status/{job.task_id}{wait}", headers=headers)
            wait = ""
            if answer := self._answered(job, request):
                self._tell(job, answer.body)

    def _tell(self, job: Job, status: Mapping[str, Any]) -> None:
        job.state = state = status.get("state", "?")
        job.percent = percent(status)
        job.seconds = self._clock() - job.began
        if state in (*ENDED, job.step.ends):
            self._conclude(job, status, state, job.step.ends)

    def _answered(self, job: Job, request: Request) -> Answer | None:
        try:
            return self._ask(request)
        except OSError as error:
            self._end(job, f"{type(error).__name__}: {error}", expected=False)
            return None

    def _conclude(self, job: Job, body: Any, came: str, wanted: str) -> None:
        step = job.step
        self._known[step.key] = body
        job.state = came
        problem = f"expected {wanted}" if came != wanted else mismatch(step, body, self._known)
        self._end(job, _said(step, body, problem), expected=not problem)

    def _end(self, job: Job, says: str, *, expected: bool) -> None:
        job.expected, job.says = expected, words("{says}", {"says": says})
        job.seconds = self._clock() - job.began if job.began else 0.0


def _said(step: Step, body: Any, problem: str) -> str:
    if not problem:
        return words(step.says, body)
    told = [body[name] for name in ("detail", "error") if isinstance(body, dict) and name in body]
    return "; ".join(map(str, [problem, *told[:1]]))


def _untraced() -> str:
    """A trace context that asks for no trace: those of the jobs would drown among so many looks."""
    return f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-00"


def needs(step: Step) -> set[str]:
    """The first name of every place of the step, and what it comes after."""
    return {*names([step.path, step.json, step.headers]), *step.after}


def mismatch(step: Step, body: Any, known: Mapping[str, Any]) -> str:
    """What is other than the step says it will be; empty if nothing is."""
    for path, wanted in fill(step.shows, known).items():
        try:
            found = look_up(body, path)
        except LookupError:
            found = None
        if found != wanted:
            return f"{path} is {found!r}, not {wanted!r}"
    return ""


def percent(status: Mapping[str, Any]) -> float:
    """How far a task is, by its own words, from 0 to 100."""
    if status.get("state") == "SUCCESS":
        return 100.0
    progress = status.get("progress")
    told = progress.get("percent") if isinstance(progress, dict) else None
    return min(max(float(told), 0.0), 100.0) if isinstance(told, int | float) else 0.0
