"""Cancelling tasks, so that it holds whatever becomes of the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import states
from celery.exceptions import Ignore
from flask import current_app

from app.services.results import AT_ONCE, Results

WAITING = (states.PENDING, states.RECEIVED, states.RETRY)
ENDED = (states.SUCCESS, states.FAILURE, states.REVOKED)


def cancel(ids: Sequence[str], seconds: float) -> dict[str, str]:
    """Cancel those that have not ended; gives each one's state before.

    A message that still comes within so many seconds is not run. Raises UnreachableError; what was
    noted until then holds.
    """
    celery, breakers = current_app.extensions["celery"], current_app.extensions["breakers"]
    with breakers["result backend"]():
        before = dict(zip(ids, _noted(celery.backend, ids, seconds), strict=True))
    open_ids = [each for each, state in before.items() if state not in ENDED]
    for start in range(0, len(open_ids), AT_ONCE):
        some = {"ids": open_ids[start : start + AT_ONCE]}
        with breakers["broker"]():
            celery.control.broadcast("cancel_tasks", arguments=some)
    return before


def _noted(backend: Any, ids: Sequence[str], seconds: float) -> list[str]:
    if isinstance(backend, Results):
        return backend.cancel(ids, seconds)
    # Results in memory: there is no worker but this process.
    before = [backend.get_state(each) for each in ids]
    for each, state in zip(ids, before, strict=True):
        if state in WAITING:
            backend.mark_as_revoked(each, "revoked")
    return before


def stop_if_cancelled(task: Any) -> None:
    """Called where a task is about to run: raises Ignore, with its state REVOKED, if it may not."""
    backend, task_id = task.backend, task.request.id
    if isinstance(backend, Results) and backend.may_not_run(task_id):
        # A chord is told too.
        backend.mark_as_revoked(task_id, "revoked", request=task.request)
        raise Ignore("cancelled")
