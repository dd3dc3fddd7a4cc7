"""How a task is doing."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.result import AsyncResult
from flask import Blueprint, abort, current_app

from app import registry

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
MEMBER = {PROGRESS: "progress", states.SUCCESS: "result", states.FAILURE: "error"}


@blueprint.get("/task-status/<task_id>")
def status(task_id: str) -> dict[str, Any]:
    """The state of a task that this service handed out."""
    if registry.find(task_id) is None:
        abort(404, f"No task has the id {task_id!r}.")
    result = AsyncResult(task_id, app=current_app.extensions["celery"])
    state, value = result.state, result.result
    answer = {"task_id": task_id, "state": state, "status": STATUS.get(state, f"Task is {state}")}
    if member := MEMBER.get(state):
        answer[member] = str(value) if isinstance(value, BaseException) else value
    return answer
