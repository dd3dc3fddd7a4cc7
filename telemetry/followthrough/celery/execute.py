"""Where a task runs: its span, from its start to its one end, with one outcome."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from contextvars import Token
from typing import Any

from billiard.exceptions import Terminated
from billiard.process import current_process
from celery import signals
from celery._state import get_current_task
from celery.exceptions import Retry
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from .. import attempts, logs, names, tell, tracing
from ..guard import guarded
from ..outcome import Outcome, decide
from ..tracing import ids
from ..tracing.current import attach, detach
from . import aside, interrupted, process, storing
from .carrier import text
from .current import current
from .process import Known
from .signals import connect as connect_signal

REMEMBERED = 64


class Attempt:
    """A task that runs here. Each part of its start may be made again if a signal cuts it off."""

    __slots__ = (
        "before",
        "begun",
        "is_ended",
        "is_told",
        "known",
        "origin",
        "request",
        "span",
        "started",
        "stored",
        "token",
        "wait",
    )

    def __init__(self, request: Any, known: Known) -> None:
        self.request, self.known = request, known
        # The caller of an eager task may be dealing with an exception of its own.
        self.before = sys.exception()
        self.started = time.perf_counter()
        self.begun: process.Started | None = None
        self.is_ended = self.is_told = False
        self.span: trace.Span = trace.INVALID_SPAN
        # The first send, which later attempts are children of.
        self.origin: SpanContext | None = None
        self.stored = 0.0
        self.wait: float | None = None
        self.token: Token[Context] | None = None


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
    connect_signal(signals.task_prerun, on_prerun)
    connect_signal(signals.task_postrun, on_postrun)
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
    attempt = Attempt(task.request, process.known(task))
    _running.setdefault(task_id, []).append(attempt)
    interrupted.finish(_begin, attempt, task_id, args, kwargs or {}, send_again=True)


def _begin(attempt: Attempt, task_id: str, args: Any, kwargs: Any) -> None:
    if attempt.begun is None:
        attempt.begun = process.start(attempt.known, attempt.request, task_id, args, kwargs)
    begun = attempt.begun
    attempt.span, attempt.origin, attempt.wait = begun.span, begun.origin, begun.wait
    if attempt.token is None:
        number = attempt.request.retries + 1
        queue = {names.QUEUE: begun.queue} if begun.queue else {}
        around = trace.set_span_in_context(begun.span, begun.context)
        attempt.token = attach(
            logs.carrying(around, task_id=task_id, task=attempt.known.name, attempt=number, **queue)
        )
    if tell.logs_at(logging.DEBUG):
        tell.logger.debug(names.TASK_STARTED)


def on_postrun(task_id: str, state: str | None = None, retval: Any = None, **_: Any) -> None:
    attempt = running(task_id)
    if attempt is None:
        return
    seconds = time.perf_counter() - attempt.started
    raised = sys.exception()
    raised = None if raised is attempt.before else raised
    try:
        interrupted.finish(_end, attempt, task_id, seconds, state, retval, raised)
    finally:
        interrupted.finish(_leave, attempt)
        # Last: whoever hears of this end too asks `is_running`.
        _remove(task_id, attempt)


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
    else:
        cause = _cause(state, retval, raised)
        _tell(attempt, task_id, seconds, _outcome(attempt.known, state, raised, cause), cause)


def _leave(attempt: Attempt) -> None:
    """Give the context back, in whatever way the end was told."""
    if attempt.token is not None:
        token, attempt.token = attempt.token, None
        detach(token)


def _tell(attempt: Attempt, task_id: str, seconds: float, outcome: Outcome, cause: object) -> None:
    span, known = attempt.span, attempt.known
    error = cause if isinstance(cause, BaseException) else None
    if not attempt.is_ended:
        process.end(span, outcome, error, seconds, attempt.stored)
        attempt.is_ended = True
    if attempt.is_told:
        return
    if outcome.kind == "requeued":
        _note(task_id, span)
    tell.task(
        outcome,
        name=known.name,
        task_id=task_id,
        critical=known.critical,
        seconds=seconds,
        exception=error,
        wait=attempt.wait,
        **ids.of(span),
    )
    # Cut off before this, it is told again rather than not at all.
    attempt.is_told = True
    if current.runtime is not None:
        labels = {"task": known.name, "worker": attempt.request.hostname or ""}
        current.runtime.record(seconds, labels)


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
    attempt = running(task_id)
    if attempt is not None:
        attempt.stored += seconds


def _remove(task_id: str, attempt: Attempt) -> None:
    stack = _running.get(task_id)
    if stack:
        stack.remove(attempt)
        if not stack:
            _ended.append(task_id)
            _running.pop(task_id, None)


def in_pool_process() -> bool:
    """Whether this is a child of a prefork pool."""
    return current_process()._parent_pid is not None  # noqa: SLF001  billiard has no other name
