"""How a task or workflow is shown to its caller, made of what is stored of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import states
from celery.exceptions import ChordError

from app.registry import Known
from app.services import workflow
from app.services.workflow import PROGRESS, Member

Metas = Mapping[str, Mapping[str, Any]]

STATUS = {
    states.PENDING: "Task is waiting to be executed",
    states.RECEIVED: "Task is held by a worker until its time",
    states.STARTED: "Task has started",
    PROGRESS: "Task is in progress",
    states.RETRY: "Task is being retried",
    states.SUCCESS: "Task completed successfully",
    states.FAILURE: "Task failed",
    states.REVOKED: "Task was cancelled",
}
MEMBER = {
    PROGRESS: "progress",
    states.SUCCESS: "result",
    states.FAILURE: "error",
    states.RETRY: "error",
}
SHOWN = 100  # members of a workflow


def state(known: Known, metas: Metas) -> str:
    """The state of what an id stands for."""
    if known.is_workflow:
        return workflow.state(_members(known, metas), known.id)
    return str(metas[known.id]["status"])


def shown(known: Known, metas: Metas) -> dict[str, Any]:
    """The whole answer."""
    if known.is_workflow:
        return _workflow(known, metas)
    meta = metas[known.id]
    return _task(known.id, meta["status"], meta["result"])


def _task(task_id: str, state: str, value: Any) -> dict[str, Any]:
    answer = {"task_id": task_id, "state": state, "status": STATUS.get(state, f"Task is {state}")}
    if member := MEMBER.get(state):
        answer[member] = str(value) if isinstance(value, BaseException) else value
    # Such as whether the same job may succeed later.
    return {**answer, **getattr(value, "details", {})}


def _workflow(known: Known, metas: Metas) -> dict[str, Any]:
    members = _members(known, metas)
    state = workflow.state(members, known.id)
    failed = _failed(members, metas)
    answer = _task(known.id, state, _value(state, known, metas, failed))
    if state == states.FAILURE and failed:
        answer["error"] = f"{failed[0]['name']} ({failed[0]['task_id']}): {failed[0]['error']}"
    return {
        **answer,
        "progress": workflow.progress(members),
        "children": [_child(member) for member in members[:SHOWN]],
        "children_total": len(members),
        "failed": failed,
    }


def _members(known: Known, metas: Metas) -> list[Member]:
    return [
        Member(part.id, part.name, metas[part.id]["status"], part.parent_id) for part in known.parts
    ]


def _value(state: str, known: Known, metas: Metas, failed: Sequence[Mapping[str, Any]]) -> Any:
    if state == states.FAILURE and failed:
        return metas[failed[0]["task_id"]]["result"]
    if known.id in metas:
        return metas[known.id]["result"]
    return [metas[part.id]["result"] for part in known.parts[:SHOWN]]


def _failed(members: Sequence[Member], metas: Metas) -> list[dict[str, Any]]:
    failures = workflow.failures(members)
    # A chord's last task has this error if one before it failed; that one is named.
    real = [e for e in failures if not isinstance(metas[e.id]["result"], ChordError)]
    return [
        {"task_id": each.id, "name": each.name, "error": str(metas[each.id]["result"])}
        for each in (real or failures)[:SHOWN]
    ]


def _child(member: Member) -> dict[str, str]:
    return {"task_id": member.id, "name": member.name, "state": member.state}
