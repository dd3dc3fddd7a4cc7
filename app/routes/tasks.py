"""How a task is doing."""

from __future__ import annotations

from typing import Any

from celery import states
from flask import Blueprint, abort, current_app
from pydantic import BaseModel, ConfigDict

from app import registry
from app.routes.document import described

blueprint = Blueprint("tasks", __name__)

PROGRESS = "PROGRESS"
STATUS = {
    states.PENDING: "Task is waiting to be processed",
    states.STARTED: "Task has started",
    PROGRESS: "Task is in progress",
    states.SUCCESS: "Task completed successfully",
    states.FAILURE: "Task failed",
    states.RETRY: "Task is being retried",
    states.REVOKED: "Task was cancelled",
}
MEMBER = {
    PROGRESS: "progress",
    states.SUCCESS: "result",
    states.FAILURE: "error",
    states.RETRY: "error",
}
LONGEST_ID = 255  # characters, as in the table


class TaskStatus(BaseModel):
    """`progress`, `result` or `error` as the state has it, and what the task says besides."""

    model_config = ConfigDict(extra="allow")

    task_id: str
    state: str
    status: str
    progress: Any = None
    result: Any = None
    error: Any = None


@blueprint.get("/task-status/<task_id>")
@described(
    "Tasks",
    path={"task_id": {"description": "The `task_id` of an answer 202."}},
    answers={200: TaskStatus},
    problems={404: "No task has this id, or its result has expired."},
)
def status(task_id: str) -> dict[str, Any]:
    """The state of a task that this service handed out."""
    fresh = _is_fresh(task_id)
    meta = _meta(task_id)
    state, value = meta["status"], meta["result"]
    if state == states.PENDING and not fresh:
        abort(404, "The task's result has expired, or it waits longer than results are kept.")
    answer = {"task_id": task_id, "state": state, "status": STATUS.get(state, f"Task is {state}")}
    if member := MEMBER.get(state):
        answer[member] = str(value) if isinstance(value, BaseException) else value
    # Such as whether the same job may succeed later.
    return {**answer, **getattr(value, "details", {})}


def _is_fresh(task_id: str) -> bool:
    # Some databases can't even be asked for a NUL.
    wellformed = len(task_id) <= LONGEST_ID and task_id.isprintable()
    fresh = registry.is_fresh(task_id) if wellformed else None
    if fresh is None:
        abort(404, "No task has this id.")
    return fresh


def _meta(task_id: str) -> dict[str, Any]:
    # One read, so that the state and the value belong together.
    with current_app.extensions["breakers"]["result backend"]():
        meta: dict[str, Any] = current_app.extensions["celery"].backend.get_task_meta(task_id)
    return meta
