"""What a worker's main process does beside taking messages: heeds cancelling, tells how it does.

Cancelled tasks are kept in the result backend, told to all workers at once, and read again at each
connection: so a worker that was away, or that starts later, knows them too. What slips through, the
process that is to run the task finds out as it stores that it starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from celery import Celery, signals
from celery.bootsteps import StartStopStep
from celery.worker import state as worker_state
from celery.worker.consumer import Control
from celery.worker.control import Panel, add_consumer, control_command

from app import queues
from app.services.results import Results

CANCEL = "cancel_tasks"
OVERVIEW = "overview"
SIGNAL = "SIGTERM"

logger = logging.getLogger(__name__)


class Cancelled(StartStopStep):
    """Reads at each connection which tasks were cancelled meanwhile."""

    # By then this worker listens: what is cancelled from now on it is told.
    requires = (Control,)

    def start(self, parent: Any) -> None:
        backend = parent.app.backend
        if not isinstance(backend, Results):
            return
        errors: tuple[type[Exception], ...] = backend.connection_errors
        try:
            heed(backend.cancelled(), parent.pool)
        except errors as error:
            logger.warning("can't read which tasks were cancelled: %s", error)


def install(celery: Celery) -> None:
    """Let workers of this process do all this."""
    celery.steps["consumer"].add(Cancelled)
    control_command(name=CANCEL, visible=False)(_cancel)
    control_command(name=OVERVIEW, visible=False)(_overview)
    Panel.data["add_consumer"] = _add_consumer
    signals.task_received.connect(_note_held, dispatch_uid="app.received", weak=False)


def heed(ids: Iterable[str], pool: Any) -> None:
    """Run none of these tasks; end those that run."""
    ids = set(ids)
    worker_state.revoked.update(ids)
    for request in _among(worker_state.scheduled_requests, ids):
        request.revoked()
    for request in _among(worker_state.reserved_requests, ids):
        _terminate(request, pool)


def _among(requests: Iterable[Any], ids: set[str]) -> list[Any]:
    # Celery also has them by id, but loses one there when its try before it ends.
    return [request for request in tuple(requests) if request.id in ids]


def _terminate(request: Any, pool: Any) -> None:
    try:
        request.terminate(pool, signal=SIGNAL)
    except NotImplementedError:
        logger.warning("this worker's pool can't end %s, which goes on", request.id)


def _cancel(state: Any, ids: list[str], **_: Any) -> None:
    heed(ids, state.consumer.pool)


def _add_consumer(state: Any, queue: str, **options: Any) -> Any:
    # Celery's own would make a queue of a misspelt name.
    if problem := queues.problem([queue]):
        return {"error": problem}
    return add_consumer(state, queue, **options)


def _overview(state: Any, ticket: str, **_: Any) -> None:
    backend = state.app.backend
    if isinstance(backend, Results):
        backend.answer(ticket, _facts(state))


def _facts(state: Any) -> dict[str, Any]:
    active = len(worker_state.active_requests)
    return {
        "name": state.hostname,
        "active_tasks": active,
        "reserved_tasks": len(worker_state.reserved_requests) - active,
        "concurrency": state.consumer.pool.num_processes,
        "queues": [queue.name for queue in state.consumer.task_consumer.queues],
    }


def _note_held(request: Any, **_: Any) -> None:
    # What isn't held starts at once: noting it would only cost.
    backend = request.task.backend
    if (request.eta or request.task.rate_limit) and isinstance(backend, Results):
        backend.note_received(request.id)
