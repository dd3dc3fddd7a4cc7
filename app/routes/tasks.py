"""How a task is doing, and cancelling it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import Annotated, Any

from celery import states
from flask import Blueprint, Response, abort, current_app, jsonify
from flask.blueprints import BlueprintSetupState
from pydantic import BaseModel, ConfigDict, Field

from app import registry
from app.errors import problem
from app.registry import Known
from app.routes import body, taskstatus
from app.routes.document import described
from app.services import cancelling, taskstates
from app.services.workflow import ENDED

blueprint = Blueprint("tasks", __name__)

LONGEST_ID = 255  # characters, as in the table
LONGEST_WAIT = 30  # seconds
# Seconds between two looks at a task that is waited for: soon at first, then this often.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.2
PATH = {"task_id": {"description": "The `task_id` of an answer 202."}}


class Waiting(body.Body):
    """Seconds to wait for the end; parameters that are not ours are left alone."""

    model_config = ConfigDict(extra="ignore", strict=True)

    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT, allow_inf_nan=False)] = 0


class Child(BaseModel):
    task_id: str
    name: str
    state: str


class TaskStatus(BaseModel):
    """`progress`, `result` or `error` as the state has it, and what the task says besides.

    A workflow has `children`, at most 100 of `children_total`, and `failed` names those that did.
    """

    model_config = ConfigDict(extra="allow")

    task_id: str
    state: str
    status: str
    progress: Any = None
    result: Any = None
    error: Any = None
    children: list[Child] = []
    children_total: int = 0
    failed: list[Any] = []


class Cancelled(BaseModel):
    """`was` says what the task did by then: pending, running, or cancelled already."""

    message: str
    task_id: str
    was: str
    cancelled: int


@blueprint.record_once
def _limit_the_waiting(setup: BlueprintSetupState) -> None:
    # Each holds a thread; the other half of them is for everybody else.
    waiting = Semaphore(setup.app.extensions["settings"].web_threads // 2)
    setup.app.extensions["waiting"] = waiting


@blueprint.get("/task-status/<task_id>")
@described(
    "Tasks",
    path=PATH,
    query=Waiting,
    answers={200: TaskStatus},
    problems={404: "No task has this id, or its result has expired."},
)
def status(task_id: str) -> dict[str, Any]:
    """The state of a task or workflow, at once or, with `wait`, as soon as it ends."""
    seconds = body.query(Waiting).wait
    known = _known(task_id)
    metas = _read(known)
    if seconds and taskstatus.state(known, metas) not in ENDED:
        metas = _awaited(known, metas, seconds)
    if not known.fresh and taskstatus.state(known, metas) == states.PENDING:
        abort(404, "The task's result has expired, or it waits longer than results are kept.")
    return taskstatus.shown(known, metas)


@blueprint.post("/task-cancel/<task_id>")
@described(
    "Tasks",
    path=PATH,
    answers={200: Cancelled},
    problems={404: "No task has this id.", 409: "The task has ended."},
)
def cancel(task_id: str) -> Response:
    """Cancel a task, pending or running, or all of a workflow that has not ended."""
    known = _known(task_id)
    ids = list(dict.fromkeys([*(part.id for part in known.parts), *registry.sent_by(task_id)]))
    before = cancelling.cancel(ids, registry.grace().total_seconds())
    state = taskstatus.state(known, {each: {"status": found} for each, found in before.items()})
    stopped = [found for found in before.values() if found not in ENDED]
    if not stopped and state != states.REVOKED:
        return problem(409, "Conflict", f"The task has ended: {state}.", state=state)
    return jsonify(
        message=f"Task {task_id} cancellation requested",
        task_id=task_id,
        was=_was(stopped),
        cancelled=len(stopped),
    )


def _was(stopped: list[str]) -> str:
    if not stopped:
        return "cancelled"
    return "pending" if set(stopped) <= set(cancelling.WAITING) else "running"


def _known(task_id: str) -> Known:
    # Some databases can't even be asked for a NUL.
    wellformed = len(task_id) <= LONGEST_ID and task_id.isprintable()
    known = registry.find(task_id) if wellformed else None
    if known is None:
        abort(404, "No task has this id.")
    return known


def _read(known: Known) -> taskstatus.Metas:
    return taskstates.read([part.id for part in known.parts])


def _awaited(known: Known, metas: taskstatus.Metas, seconds: float) -> taskstatus.Metas:
    with _thread_to_spare() as may_wait:
        end = time.monotonic() + (seconds if may_wait else 0)
        pause = FIRST_PAUSE
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(1.5 * pause, LONGEST_PAUSE)
            metas = _read(known)
            if taskstatus.state(known, metas) in ENDED:
                break
    return metas


@contextmanager
def _thread_to_spare() -> Iterator[bool]:
    waiting: Semaphore = current_app.extensions["waiting"]
    acquired = waiting.acquire(blocking=False)
    try:
        yield acquired
    finally:
        if acquired:
            waiting.release()
