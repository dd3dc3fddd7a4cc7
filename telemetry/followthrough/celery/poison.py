"""Tasks that take their process down again and again: put into quarantine after some deaths."""

from __future__ import annotations

from typing import Any

from .. import attempts, tracing
from . import aside


class _Current:
    limit = 0


class Poisoned(Exception):  # noqa: N818  it is what the task's result says
    """A task took its process down too often, and was put into quarantine."""


def use(limit: int) -> None:
    """Put a task aside after so many deaths of its process; 0 for never."""
    _Current.limit = limit


def poisoned(request: Any, error: BaseException) -> Poisoned | None:
    """Count a death; where it was one too many, keep the message and say with what it fails."""
    state_dir = aside.state_dir()
    if state_dir is None:
        return None
    span = tracing.under_way(request.worker_pid or 0, request.id)
    deaths = attempts.note_death(state_dir, request.id, span)
    if not 0 < _Current.limit <= deaths or not comes_back(request):
        return None
    verdict = Poisoned(f"took its process down {deaths} times, at last: {error}")
    if aside.keep(request.message, verdict, reason="poison") is None:
        return None
    attempts.forget(state_dir, request.id)
    return verdict


def comes_back(request: Any) -> bool:
    """Whether a task runs again after its process is gone."""
    task = request.task
    return bool(
        getattr(task, "retry_on_worker_lost", False)
        or (task.acks_late and task.reject_on_worker_lost)
    )
