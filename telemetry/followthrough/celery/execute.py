"""Where a task runs: its start, and its end with one outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import structlog
from billiard.process import current_process
from celery import signals
from opentelemetry import trace

from .. import names, tell
from ..outcome import Outcome, decide
from ..tracing import ids
from . import critical
from .signals import connect


@dataclass
class _Running:
    started: float
    tokens: dict[str, Any]


# A stack for each id: an eager retry runs inside the attempt before it.
_running: dict[str, list[_Running]] = {}


def is_running(task_id: str) -> bool:
    """Whether this process runs the task; what runs here is told here."""
    return task_id in _running


def connect_start() -> None:
    connect(signals.task_prerun, on_prerun)


def connect_end() -> None:
    connect(signals.task_postrun, on_postrun)


def on_prerun(task_id: str, task: Any, **_: Any) -> None:
    tokens = structlog.contextvars.bind_contextvars(task_id=task_id, task=task.name)
    entry = _Running(time.perf_counter(), dict(tokens))
    _running.setdefault(task_id, []).append(entry)
    tell.logger.debug(names.TASK_STARTED, attempt=task.request.retries + 1)


def on_postrun(
    task_id: str, task: Any, state: str | None = None, retval: Any = None, **_: Any
) -> None:
    entry = _pop(task_id)
    if entry is None:
        return
    try:
        if state is None and _in_pool_child():
            # This child is dying; the worker's main process knows why and tells it.
            span = trace.get_current_span()
            span.set_status(trace.Status(trace.StatusCode.ERROR, "ended from outside"))
            return
        exception = retval if isinstance(retval, BaseException) else None
        outcome = decide(state, exception)
        _mark_span(outcome)
        tell.task(
            outcome,
            name=task.name,
            task_id=task_id,
            critical=critical.is_critical(task.name, task),
            seconds=time.perf_counter() - entry.started,
            exception=exception,
            **ids.current(),
        )
    finally:
        structlog.contextvars.reset_contextvars(**entry.tokens)


def _mark_span(outcome: Outcome) -> None:
    span = trace.get_current_span()
    span.set_attribute(names.CELERY_OUTCOME, outcome.kind)
    if outcome.error_type:
        span.set_attribute(names.ERROR_TYPE, outcome.error_type)


def _pop(task_id: str) -> _Running | None:
    stack = _running.get(task_id)
    if not stack:
        return None
    entry = stack.pop()
    if not stack:
        _running.pop(task_id, None)
    return entry


def _in_pool_child() -> bool:
    return current_process()._parent_pid is not None  # noqa: SLF001  billiard has no other name
