"""Where a task runs: its span, from its start to its one end, with one outcome."""

from __future__ import annotations

import sys
from collections import deque
from logging import DEBUG
from time import perf_counter
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, Terminated
from billiard.process import current_process
from celery import signals
from celery._state import get_current_task
from celery.exceptions import Retry
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN

from .. import attempts, guard, logs, names, tell, tracing
from ..guard import guarded
from ..outcome import SUCCESS, Outcome, decide
from ..tracing.current import attach, detach
from ..tracing.ids import in_hex
from . import aside, interrupted, process, storing
from .attempt import Attempt
from .carrier import text
from .current import current
from .process import Known
from .signals import connect as connect_signal

REMEMBERED = 64


# The attempt of each id, and those that began before it had ended: an eager retry runs inside the
# attempt before it, and so may the next one in a pool of threads. Each change is one step.
_running: dict[str, Attempt] = {}
_beside: dict[str, list[Attempt]] = {}
_ended: deque[str] = deque(maxlen=REMEMBERED)


def is_running(task_id: str) -> bool:
    """Whether this process runs the task, or has just told its end; it is told here alone."""
    return task_id in _running or task_id in _beside or task_id in _ended


def running(task_id: str) -> Attempt | None:
    """The attempt that this process runs; of several the one that asks."""
    first, others = _running.get(task_id), _beside.get(task_id)
    if not others:
        return first
    request = getattr(get_current_task(), "request", None)
    every = others if first is None else [first, *others]
    return next((each for each in every if each.request is request), every[-1])


def connect() -> None:
    """Follow what runs here."""
    # These guard themselves: the guard's call costs as much as many a hook.
    connect_signal(signals.task_prerun, on_prerun, is_hot=True)
    connect_signal(signals.task_postrun, on_postrun, is_hot=True)
    connect_signal(signals.worker_process_init, on_pool_process)
    connect_signal(signals.worker_ready, on_worker)
    storing.connect(_stored)


def disconnect() -> None:
    """Undo the part of `connect` that isn't a signal."""
    storing.disconnect()
    _running.clear()
    _beside.clear()
    _ended.clear()


def on_pool_process(**_: Any) -> None:
    if in_pool_process():
        current.pool = "prefork"


def on_worker(sender: Any, **_: Any) -> None:
    # The pools' modules are called as their option is, but for one.
    kind = type(sender.pool).__module__.rpartition(".")[2]
    current.pool = "threads" if kind == "thread" else kind


def on_prerun(task_id: str, task: Any, args: Any = (), kwargs: Any = None, **_: Any) -> None:
    try:
        try:
            _begin(task_id, task, args, kwargs)
        except SoftTimeLimitExceeded:
            # As `interrupted.finish`, without its call.
            pass
        else:
            return
        _begin(task_id, task, args, kwargs)
        interrupted.again()
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("celery.task_prerun", error)


def _begin(task_id: str, task: Any, args: Any, kwargs: Any) -> None:
    """Start the span and make it current; may be called again where it was cut off."""
    attempt = Attempt(task.request, process.known(task))
    first = _running.setdefault(task_id, attempt)
    if first is not attempt:
        attempt = _one_more(task_id, first, attempt)
    if attempt.span is INVALID_SPAN:
        process.start(attempt, task_id, args, kwargs or {})
    if attempt.token is None:
        fields = {"task_id": task_id, **attempt.fields}
        attempt.token = attach(logs.around(attempt.context, attempt.span, fields))
    if tell.found_levels.get(DEBUG) is not False and tell.logs_at(DEBUG):
        tell.logger.debug(names.TASK_STARTED)


def _one_more(task_id: str, first: Attempt, attempt: Attempt) -> Attempt:
    """An attempt beside another one of its id; that one itself where its start was cut off."""
    others = _beside.get(task_id, [])
    for each in (first, *others):
        if each.request is attempt.request:
            return each
    _beside.setdefault(task_id, others).append(attempt)
    return attempt


def on_postrun(task_id: str, state: str | None = None, retval: Any = None, **_: Any) -> None:
    try:
        try:
            _finish(task_id, state, retval)
        except SoftTimeLimitExceeded:
            pass
        else:
            return
        # A task that is over needs no limit.
        _finish(task_id, state, retval)
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("celery.task_postrun", error)


def _finish(task_id: str, state: str | None, retval: Any) -> None:
    attempt = _running.get(task_id)
    if _beside:
        attempt = running(task_id)
    if attempt is None:
        return
    seconds = perf_counter() - attempt.started
    raised = sys.exception()
    if raised is not None and raised is attempt.before:
        raised = None
    try:
        if state == "SUCCESS" and raised is None:
            _end_well(attempt, task_id, seconds)
        else:
            _end(attempt, task_id, seconds, state, retval, raised)
    except SoftTimeLimitExceeded:
        raise
    except BaseException:
        _leave(attempt, task_id)
        raise
    _leave(attempt, task_id)


def _end_well(attempt: Attempt, task_id: str, seconds: float) -> None:
    """What `_end` does, for a task that succeeded and whose end was stored."""
    span, stored = attempt.span, attempt.stored
    if not attempt.has_ended:
        process.end_well(span, seconds, stored)
        attempt.has_ended = True
    if attempt.is_told:
        return
    trace_id, span_id = in_hex(span)
    tell.task(
        SUCCESS,
        attempt.known.name,
        task_id,
        seconds=seconds,
        wait=attempt.wait,
        trace_id=trace_id,
        span_id=span_id,
    )
    attempt.is_told = True
    runtime = current.runtime
    # The API's own stands for one that there is not yet, and mostly never is.
    if runtime is not None and getattr(runtime, "_real_instrument", runtime) is not None:
        labels = {"task": attempt.known.name, "worker": attempt.request.hostname or ""}
        runtime.record(seconds, labels)


def _end(
    attempt: Attempt,
    task_id: str,
    seconds: float,
    state: str | None,
    retval: Any,
    raised: BaseException | None,
) -> None:
    if _is_dying(state, raised):
        _leave_open(attempt)
        return
    span, known = attempt.span, attempt.known
    cause = _cause(state, retval, raised)
    outcome = _outcome(known, state, raised, cause)
    error = cause if isinstance(cause, BaseException) else None
    if not attempt.has_ended:
        process.end(span, outcome, error, seconds, attempt.stored)
        attempt.has_ended = True
    if attempt.is_told:
        return
    if outcome.kind == "requeued":
        _note(task_id, span)
    trace_id, span_id = in_hex(span)
    tell.task(
        outcome,
        known.name,
        task_id,
        critical=known.critical,
        seconds=seconds,
        wait=attempt.wait,
        exception=error,
        trace_id=trace_id,
        span_id=span_id,
    )
    # Cut off before this, it is told again rather than not at all.
    attempt.is_told = True
    if current.runtime is not None:
        labels = {"task": known.name, "worker": attempt.request.hostname or ""}
        current.runtime.record(seconds, labels)


def _leave(attempt: Attempt, task_id: str) -> None:
    """Give the context back, in whatever way the end was told, and forget the attempt."""
    token = attempt.token
    if token is not None:
        detach(token)
        attempt.token = None
    # Last: whoever hears of this end too asks `is_running`.
    if _beside and task_id in _beside:
        _forget_one(attempt, task_id)
    elif task_id in _running:
        _ended.append(task_id)
        del _running[task_id]


def _forget_one(attempt: Attempt, task_id: str) -> None:
    """Forget one of several attempts."""
    others = _beside[task_id]
    if attempt in others:
        others.remove(attempt)
    elif _running.get(task_id) is attempt:
        del _running[task_id]
    if not others:
        if task_id not in _running:
            _ended.append(task_id)
        del _beside[task_id]


@guarded("celery.note_attempt")
def _note(task_id: str, span: trace.Span) -> None:
    """Let the next attempt know this one, whose message goes back as it is."""
    if (state_dir := aside.state_dir()) is not None:
        attempts.note(state_dir, task_id, text(span.get_span_context()))


def _is_dying(state: str | None, raised: BaseException | None) -> bool:
    """Whether this pool process ends with the task: the worker's main process tells why."""
    return state is None and not isinstance(raised, Exception) and in_pool_process()


def _leave_open(attempt: Attempt) -> None:
    # The agent ends it, by the cause that the main process notes.
    if not tracing.ends_what_is_left():
        attempt.span.set_status(trace.StatusCode.ERROR, "ended from outside")
        attempt.span.end()


def _cause(state: str | None, retval: Any, raised: BaseException | None) -> object:
    """The exception that an outcome is about.

    Where Celery failed to store how the task ended, `raised` is why. With no state yet, the task
    itself had raised, and its exception is at the root of that.
    """
    if raised is not None and state is None:
        chain = [raised]
        while chain[-1].__context__ is not None and chain[-1].__context__ not in chain:
            chain.append(chain[-1].__context__)
        return chain[-1]
    if raised is not None and state == "SUCCESS":
        return raised
    return retval if isinstance(retval, BaseException) else None


def _outcome(
    known: Known, state: str | None, raised: BaseException | None, cause: object
) -> Outcome:
    if type(raised).__name__ == "GreenletExit":
        # gevent's way to end a task that was revoked while it ran.
        return decide("REVOKED", Terminated("its greenlet was killed"), terminated=True)
    if state == "SUCCESS" and raised is not None:
        return decide("task_internal_error", cause)
    if state is None and isinstance(cause, Retry):
        return decide("RETRY", cause)
    expected = state == "FAILURE" and isinstance(cause, known.throws)
    return decide(state, cause, expected=expected)


def _stored(task_id: str, seconds: float) -> None:
    attempt = _running.get(task_id)
    if _beside:
        attempt = running(task_id)
    if attempt is not None:
        attempt.stored += seconds


def in_pool_process() -> bool:
    """Whether this is a child of a prefork pool."""
    return current_process()._parent_pid is not None  # noqa: SLF001  billiard has no other name
