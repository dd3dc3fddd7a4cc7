"""The worker's main process: what ended a task whose own process couldn't say, told once."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from typing import Any

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import Task, signals
from celery.exceptions import Reject, WorkerShutdown
from opentelemetry import trace

from .. import attempts, metrics, names, tell, tracing
from ..guard import guarded
from ..outcome import Outcome, decide
from ..tracing import ids
from . import aside, critical, noise, unrun
from .broker import system
from .carrier import parse, trace_ids
from .execute import in_pool_process, is_running
from .poison import Poisoned, poisoned
from .signals import connect as connect_signal

CHILD_EXIT_SECONDS = 1.0
# Billiard gives a lost process's results ten seconds to arrive, and looks every second; a busy host
# is late.
LOST_SECONDS = 20.0
STOCK = "celery.worker.request:Request"
OURS = "followthrough.celery.request:Request"


class _Speaking(threading.local):
    """The request that Celery is telling something of, in signals that name only a task's id."""

    request: Any = None


# A pool of threads has Celery say things in several at a time.
speaking = _Speaking()


class _Main:
    app: Any = None
    holding: Any = None


def connect() -> None:
    """Listen in the worker's main process and to the ends of its pool processes."""
    # A path, so that only a worker imports Celery's worker.
    Task.Request = OURS
    connect_signal(signals.worker_init, on_worker_init)
    connect_signal(signals.task_failure, on_failure)
    connect_signal(signals.task_retry, on_retry)
    connect_signal(signals.task_revoked, on_revoked)
    connect_signal(signals.task_unknown, on_unknown)
    connect_signal(signals.task_rejected, on_rejected)
    connect_signal(signals.worker_ready, on_ready)
    connect_signal(signals.worker_shutdown, on_shutdown)
    connect_signal(signals.worker_process_init, on_child_start)
    connect_signal(signals.worker_process_shutdown, on_child_exit)
    connect_signal(signals.setup_logging, noise.on_setup_logging)
    connect_signal(signals.celeryd_after_setup, noise.on_worker)


def disconnect() -> None:
    """Undo the part of `connect` that isn't a signal."""
    for name in ("unreadable", "holding"):
        if module := sys.modules.get(f"{__package__}.{name}"):
            module.disconnect()
    if Task.Request == OURS:
        Task.Request = STOCK


def on_worker_init(sender: Any, **_: Any) -> None:
    from . import holding, request, unreadable  # noqa: PLC0415  they import Celery's worker

    _Main.app = sender.app
    request.see_all(sender.app)
    unreadable.connect()
    holding.connect(sender.app)
    _Main.holding = holding


def on_failure(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    # A task that runs in this process tells its end itself, and so did one that rejected.
    if is_running(task_id) or isinstance(exception, Reject):
        return
    noise.mark(exception)
    said = "quarantined" if isinstance(exception, Poisoned) else "FAILURE"
    _tell(said, exception, name=sender.name, task_id=task_id, task=sender)


def on_retry(sender: Any, request: Any, reason: Any = None, **_: Any) -> None:
    # Where the main process itself sends a task again: its process was lost.
    if not is_running(request.id):
        _tell("RETRY", reason, name=sender.name, task_id=request.id, task=sender)


@guarded("celery.task_lost")
def on_lost(request: Any, error: BaseException) -> BaseException | None:
    """The process of a task is gone: with what it fails instead, if it did so too often."""
    return poisoned(request, error)


@guarded("celery.task_requeued")
def on_requeued(request: Any, error: BaseException) -> None:
    """A task was put back in its queue since its process is gone."""
    _tell_of(request, "REJECTED", Reject(error, requeue=True))


@guarded("celery.task_lost_at_last")
def on_lost_at_last(request: Any, error: BaseException) -> None:
    """A task's process is gone, and Celery says nothing of it: the task had succeeded before.

    If it could still say so itself, that is told already.
    """
    pid = request.worker_pid or 0
    if not tracing.ends_what_is_left() or tracing.under_way(pid, request.id):
        _tell_of(request, "SUCCESS", error)


@guarded("celery.task_cancelled")
def on_cancelled(request: Any) -> None:
    """A task is about to be taken from its process: the worker stops, or has lost its broker.

    Celery calls that a retry where the message was acknowledged before, but nobody sends it again.
    """
    error = WorkerShutdown("the worker stopped, or lost its broker, while the task ran")
    if _Main.holding is not None:
        # If it is left to the agent to give back, it was told already.
        _Main.holding.stopped(request)
    if request.task.acks_late and not request.acknowledged:
        _tell_of(request, "REJECTED", Reject(error, requeue=True))
    else:
        _tell_of(request, None, error)


def on_revoked(
    sender: Any,
    request: Any,
    terminated: bool = False,
    signum: Any = None,
    expired: bool = False,
    **_: Any,
) -> None:
    if terminated and is_running(request.id):
        return
    _tell(
        "REVOKED",
        Terminated(f"signal {signum}") if terminated else None,
        name=sender.name,
        task_id=request.id,
        task=sender,
        headers=vars(request),
        expired=expired,
        terminated=terminated,
    )


def on_unknown(name: str, id: str, message: Any = None, **_: Any) -> None:  # noqa: A002
    _tell(
        "task_unknown",
        None,
        name=name,
        task_id=id,
        label=names.UNKNOWN_TASK,
        headers=_headers(message),
        message=message,
    )


def on_rejected(message: Any = None, exc: BaseException | None = None, **_: Any) -> None:
    unreadable = sys.modules.get(f"{__package__}.unreadable")
    if unreadable is not None and unreadable.is_on():
        # It was put into quarantine, and told with that.
        return
    headers = _headers(message)
    _tell(
        "task_rejected",
        exc,
        name=str(headers.get("task", names.UNKNOWN_TASK)),
        task_id=str(headers.get("id", "")),
        label=names.UNKNOWN_TASK,
        headers=headers,
        message=message,
    )


def on_ready(sender: Any, **_: Any) -> None:
    metrics.announce(name for name in sender.app.tasks if not name.startswith("celery."))


def on_shutdown(**_: Any) -> None:
    if _Main.holding is not None:
        _Main.holding.close()


def on_child_start(**_: Any) -> None:
    # The solo pool says it in the main process, over which nobody watches.
    if in_pool_process():
        tracing.is_watched(LOST_SECONDS)


def on_child_exit(**_: Any) -> None:
    # The pool ends its children by os._exit: nothing that waits for the end of Python runs there.
    tracing.finish(CHILD_EXIT_SECONDS)


def _tell_of(request: Any, said: str | None, cause: Any) -> None:
    _tell(said, cause, name=request.name, task_id=request.id, task=request.task, request=request)


def _tell(
    said: str | None,
    cause: Any,
    *,
    name: str,
    task_id: str,
    task: Any = None,
    request: Any = None,
    headers: dict[str, Any] | None = None,
    message: Any = None,
    expired: bool = False,
    terminated: bool = False,
    label: str | None = None,
) -> None:
    request = request or speaking.request
    if not _is_first(request):
        return
    headers = headers or getattr(request, "request_dict", {})
    outcome = decide(said, cause, by="main", expired=expired, terminated=terminated)
    fields: dict[str, Any] = {"name": name, "task_id": task_id, "label": label}
    fields["critical"] = critical.is_critical(name, task)
    started = getattr(request, "time_start", None)
    if started:
        fields |= _ids(request, outcome) or trace_ids(headers)
        ended = _note_cause(request, cause, outcome) or time.time()
        tell.task(outcome, seconds=max(0.0, ended - started), **fields)
    else:
        fields |= {"queue": _queue(request or message), "system": system(_Main.app)}
        unrun.told(outcome, headers=headers, **fields)


def _is_first(request: Any) -> bool:
    """Whether nothing was told of a request yet: Celery says some ends twice."""
    if request is None:
        return True
    is_told = vars(request).get("followthrough_told", False)
    request.followthrough_told = True
    return not is_told


@guarded("celery.under_way")
def _ids(request: Any, outcome: Outcome) -> dict[str, str]:
    """The ids of the span that a task has in its process; kept if its message goes back."""
    found = tracing.under_way(request.worker_pid or 0, request.id)
    state_dir = aside.state_dir()
    if found and outcome.kind == "requeued" and state_dir is not None:
        attempts.note(state_dir, request.id, found)
    parsed = parse(found)
    return ids.of(trace.NonRecordingSpan(parsed)) if parsed else {}


@guarded("celery.note_cause")
def _note_cause(request: Any, cause: Any, outcome: Outcome) -> float | None:
    """Give the agent what it ends the task's span with; when it ended, if it is to do so."""
    # In these cases the task's own process is gone, or about to be, and can't end its span.
    error = getattr(cause, "reason", None) or getattr(cause, "exc", None) or cause
    pid = getattr(request, "worker_pid", None)
    ends = (Poisoned, Terminated, TimeLimitExceeded, WorkerLostError, WorkerShutdown)
    if not pid or not isinstance(error, ends):
        return None
    # A success that its process did not outlive says so in an event of its span.
    late = replace(outcome, message=str(error)) if outcome.kind == "success" else outcome
    return tracing.note_cause(pid, late)


def _queue(message: Any) -> str:
    info = getattr(message, "delivery_info", None) or {}
    return str(info.get("routing_key") or "")


def _headers(message: Any) -> dict[str, Any]:
    headers = getattr(message, "headers", None)
    return headers if isinstance(headers, dict) else {}
