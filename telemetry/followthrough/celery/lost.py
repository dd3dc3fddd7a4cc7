"""A task whose process was lost and that Celery puts back in its queue: it has no signal for it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from opentelemetry import context
from opentelemetry.instrumentation.utils import unwrap
from wrapt import wrap_function_wrapper

from ..guard import guarded
from . import noise
from .carrier import trace_context

Tell = Callable[[Any, BaseException], None]
CLASS = "celery.worker.request"


class _State:
    tell: Tell | None = None
    requeued: str | None = None


def connect(tell: Tell) -> None:
    """Call `tell(request, error)` for each task that goes back since its process was lost."""
    if _State.tell is None:
        wrap_function_wrapper(CLASS, "Request.reject", _reject)
        wrap_function_wrapper(CLASS, "Request.on_failure", _on_failure)
    _State.tell = tell


def disconnect() -> None:
    """Undo `connect`."""
    if _State.tell is not None:
        unwrap(Request, "reject")
        unwrap(Request, "on_failure")
    _State.tell = None


def _reject(wrapped: Any, request: Any, args: Any, kwargs: Any) -> Any:
    if kwargs.get("requeue") or (args and args[0]):
        _State.requeued = request.id
    return wrapped(*args, **kwargs)


def _on_failure(wrapped: Any, request: Any, args: Any, kwargs: Any) -> Any:
    _State.requeued = None
    error = _lost(args[0] if args else kwargs.get("exc_info"))
    # What Celery publishes here, a retry or an errback, belongs to the task's trace.
    token = _attach(request)
    try:
        return wrapped(*args, **kwargs)
    finally:
        if token is not None:
            context.detach(token)
        if error is not None and _State.requeued == request.id:
            _tell(request, error)


@guarded("celery.attach")
def _attach(request: Any) -> Token[context.Context]:
    return context.attach(trace_context(request.request_dict))


@guarded("celery.worker_lost")
def _lost(info: Any) -> WorkerLostError | None:
    error = getattr(info.exception, "exc", info.exception)
    if isinstance(error, SystemExit):
        return WorkerLostError(f"Worker exited prematurely: exitcode {error.code}.")
    if not isinstance(error, WorkerLostError):
        return None
    # Whether it goes back or fails, a line of ours says so.
    noise.mark(error)
    return error


@guarded("celery.task_requeued")
def _tell(request: Any, error: WorkerLostError) -> None:
    if _State.tell is not None:
        _State.tell(request, error)
