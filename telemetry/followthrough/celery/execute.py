"""Where a task runs: its span, from its start to its one end, with one outcome."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, Terminated
from billiard.process import current_process
from celery import signals
from celery._state import get_current_task
from celery.exceptions import Retry
from opentelemetry import trace
from opentelemetry.context import Context

from .. import attempts, guard, logs, names, tell, tracing
from ..guard import guarded
from ..outcome import SUCCESS, Outcome, decide
from ..tracing import ids
from ..tracing.current import attach, detach
from . import aside, interrupted, process, storing
from .attempt import Attempt
from .carrier import text
from .current import current
from .process import Known
from .signals import connect as connect_signal

REMEMBERED = 64


# A stack for each id: an eager retry runs inside the attempt before it, and in a pool of threads
# the next attempt may begin before this one has ended.
_running: dict[str, list[Attempt]] = {}
_ended: deque[str] = deque(maxlen=REMEMBERED)


def is_running(task_id: str) -> bool:
    """Whether this process runs the task, or has just told its end; it is told here alone."""
    return task_id in _running or task_id in _ended


def running(task_id: str) -> Attempt | None:
    """The attempt that this process runs; of several the one that asks."""
    stack = _running.get(task_id)
    if not stack or len(stack) == 1:
        return stack[0] if stack else None
    request = getattr(get_current_task(), "request", None)
    return next((each for each in stack if each.request is request), stack[-1])


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
        for is_again in interrupted.TWICE:
            try:
                request = task.request
                stack = _running.setdefault(task_id, [])
                if not stack or stack[-1].request is not request:
                    stack.append(Attempt(request, process.known(task)))
                _begin(stack[-1], task_id, args, kwargs or {})
            except SoftTimeLimitExceeded:
                continue
            if is_again:
                interrupted.again()
            return
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("celery.task_prerun", error)


def _begin(attempt: Attempt, task_id: str, args: Any, kwargs: Any) -> None:
    """Start the span and make it current; may be called again where it was cut off."""
    if attempt.span is trace.INVALID_SPAN:
        process.start(attempt, task_id, args, kwargs)
    if attempt.token is None:
        fields = {
            "task_id": task_id,
            "task": attempt.known.name,
            "attempt": attempt.request.retries + 1,
        }
        if attempt.queue:
            fields[names.QUEUE] = attempt.queue
        attempt.token = attach(logs.around(attempt.context or Context(), attempt.span, fields))
    if tell.logs_at(logging.DEBUG):
        tell.logger.debug(names.TASK_STARTED)


def on_postrun(task_id: str, state: str | None = None, retval: Any = None, **_: Any) -> None:
    try:
        # A task that is over needs no limit.
        for _again in interrupted.TWICE:
            try:
                stack = _running.get(task_id)
                attempt = stack[0] if stack and len(stack) == 1 else running(task_id)
                if attempt is None:
                    return
                seconds = time.perf_counter() - attempt.started
                raised = sys.exception()
                raised = None if raised is attempt.before else raised
                try:
                    _end(attempt, task_id, seconds, state, retval, raised)
                except SoftTimeLimitExceeded:
                    raise
                except BaseException:
                    _leave(attempt, task_id)
                    raise
                _leave(attempt, task_id)
            except SoftTimeLimitExceeded:
                continue
            return
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("celery.task_postrun", error)


def _end(
    attempt: Attempt,
    task_id: str,
    seconds: float,
    state: str | None,
    retval: Any,
    raised: BaseException | None,
) -> None:
    outcome, cause = SUCCESS, None
    # What is decided below for such a state too.
    if state != "SUCCESS" or raised is not None:
        if _is_dying(state, raised):
            _leave_open(attempt)
            return
        cause = _cause(state, retval, raised)
        outcome = _outcome(attempt.known, state, raised, cause)
    span, known = attempt.span, attempt.known
    error = cause if cause is not None and isinstance(cause, BaseException) else None
    if not attempt.has_ended:
        process.end(span, outcome, error, seconds, attempt.stored)
        attempt.has_ended = True
    if attempt.is_told:
        return
    if outcome.kind == "requeued":
        _note(task_id, span)
    trace_id, span_id = ids.in_hex(span)
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
    stack = _running.get(task_id)
    if stack and attempt in stack:
        if len(stack) > 1:
            stack.remove(attempt)
        else:
            _ended.append(task_id)
            del _running[task_id]


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
    stack = _running.get(task_id)
    attempt = stack[0] if stack and len(stack) == 1 else running(task_id)
    if attempt is not None:
        attempt.stored += seconds


def in_pool_process() -> bool:
    """Whether this is a child of a prefork pool."""
    return current_process()._parent_pid is not None  # noqa: SLF001  billiard has no other name
