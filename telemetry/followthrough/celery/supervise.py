"""The worker's main process: what ended a task whose own process couldn't say."""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakValueDictionary

from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import signals
from celery.exceptions import Reject

from .. import metrics, names, tell, tracing
from ..guard import guarded
from ..outcome import Outcome, decide
from . import critical, lost, noise
from .carrier import trace_ids
from .execute import is_running
from .signals import connect as connect_signal

CHILD_EXIT_SECONDS = 1.0
# Billiard gives a lost process's results ten seconds to arrive, and looks every second.
LOST_SECONDS = 12.0
REMEMBERED = 1000

# What this worker has received and not yet forgotten, for start times and trace ids.
_received: WeakValueDictionary[str, Any] = WeakValueDictionary()
_timed_out: dict[str, float] = {}
_revoked: dict[str, float] = {}


def connect() -> None:
    """Listen in the worker's main process and to the ends of its pool processes."""
    connect_signal(signals.task_received, on_received)
    connect_signal(signals.task_failure, on_failure)
    connect_signal(signals.task_retry, on_retry)
    connect_signal(signals.task_revoked, on_revoked)
    connect_signal(signals.task_unknown, on_unknown)
    connect_signal(signals.task_rejected, on_rejected)
    connect_signal(signals.worker_ready, on_ready)
    connect_signal(signals.worker_process_init, on_child_start)
    connect_signal(signals.worker_process_shutdown, on_child_exit)
    connect_signal(signals.setup_logging, on_setup_logging)
    lost.connect(on_lost)


def disconnect() -> None:
    """Undo the part of `connect` that isn't a signal."""
    lost.disconnect()


def on_received(request: Any, **_: Any) -> None:
    _received[request.id] = request


def on_failure(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    # A task that runs in this process tells its end itself, and so did one that rejected.
    if is_running(task_id) or isinstance(exception, Reject):
        return
    noise.mark(exception)
    if isinstance(exception, TimeLimitExceeded) and _told_before(task_id, exception):
        return
    _tell("FAILURE", exception, name=sender.name, task_id=task_id, task=sender)


def _told_before(task_id: str, exception: TimeLimitExceeded) -> bool:
    # Celery says it twice; a second run of the task can't time out before its limit has passed.
    limit = float(exception.args[0] or 0.0) if exception.args else 0.0
    now = time.monotonic()
    last = _timed_out.get(task_id)
    _remember(_timed_out, task_id, now)
    return last is not None and now - last < limit


def on_retry(sender: Any, request: Any, reason: Any = None, **_: Any) -> None:
    # Where the main process itself sends a task again: its process was lost, or a cold stop.
    if not is_running(request.id):
        _tell("RETRY", reason, name=sender.name, task_id=request.id, task=sender)


def on_lost(request: Any, error: BaseException) -> None:
    """Tell a task that was put back in its queue when its process was lost."""
    _tell(
        "REJECTED",
        Reject(error, requeue=True),
        name=request.name,
        task_id=request.id,
        task=request.task,
    )


def on_revoked(
    sender: Any,
    request: Any,
    terminated: bool = False,
    signum: Any = None,
    expired: bool = False,
    **_: Any,
) -> None:
    if request.id in _revoked:
        return
    _remember(_revoked, request.id, time.monotonic())
    _tell(
        "REVOKED",
        Terminated(f"signal {signum}") if terminated else None,
        name=sender.name,
        task_id=request.id,
        task=sender,
        carrier=vars(request),
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
        carrier=_headers(message),
    )


def on_rejected(message: Any = None, exc: BaseException | None = None, **_: Any) -> None:
    headers = _headers(message)
    _tell(
        "task_rejected",
        exc,
        name=str(headers.get("task", names.UNKNOWN_TASK)),
        task_id=str(headers.get("id", "")),
        label=names.UNKNOWN_TASK,
        carrier=headers,
    )


def on_ready(sender: Any, **_: Any) -> None:
    metrics.announce(name for name in sender.app.tasks if not name.startswith("celery."))


def on_child_start(**_: Any) -> None:
    tracing.is_watched(LOST_SECONDS)


def on_child_exit(**_: Any) -> None:
    # The pool ends its children by os._exit: nothing that waits for the end of Python runs there.
    tracing.finish(CHILD_EXIT_SECONDS)


def on_setup_logging(**_: Any) -> None:
    """Keep the log chain as it is: Celery replaces it where nobody listens to this signal."""


def _tell(
    said: str,
    cause: Any,
    *,
    expired: bool = False,
    terminated: bool = False,
    task: Any = None,
    **fields: Any,
) -> None:
    carrier = fields.pop("carrier", None)
    request = _received.get(fields["task_id"])
    if carrier is None:
        carrier = request.request_dict if request else {}
    fields |= trace_ids(carrier)
    outcome = decide(said, cause, by="main", expired=expired, terminated=terminated)
    _note_cause(request, cause, outcome)
    is_critical = critical.is_critical(fields["name"], task)
    tell.task(outcome, seconds=_run_time(request), critical=is_critical, **fields)


@guarded("celery.note_cause")
def _note_cause(request: Any, cause: Any, outcome: Outcome) -> None:
    # In these cases the task's own process is gone, or about to be, and can't end its span.
    error = getattr(cause, "reason", None) or getattr(cause, "exc", None) or cause
    pid = getattr(request, "worker_pid", None)
    if pid and isinstance(error, (Terminated, TimeLimitExceeded, WorkerLostError)):
        tracing.note_cause(pid, outcome.error_type, outcome.message)


def _run_time(request: Any) -> float | None:
    started = getattr(request, "time_start", None)
    return max(0.0, time.time() - started) if started else None


def _headers(message: Any) -> dict[str, Any]:
    headers = getattr(message, "headers", None)
    return headers if isinstance(headers, dict) else {}


def _remember(told: dict[str, float], task_id: str, now: float) -> None:
    told[task_id] = now
    if len(told) > REMEMBERED:
        told.pop(next(iter(told)))
