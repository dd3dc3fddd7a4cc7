"""Celery's Request, which knows in the worker's main process what becomes of a task, with ours.

Celery takes a task's class of requests from the task; ours is put before it there, so only methods
are overridden that Celery calls on whatever class it finds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import Token
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.worker import request as stock
from kombu.utils.imports import symbol_by_name
from opentelemetry import context, trace

from .. import tracing
from ..guard import caught, guarded
from . import holding, noise, supervise
from .carrier import parse, trace_context
from .supervise import speaking
from .timing import RECEIVED

_Memory = type("MemoryError", (Exception,), {"__doc__": "A task's own, as Celery can take it."})


class Hooks:
    """Comes before a class of requests."""

    has_gone_back = False

    # The first two are called for each task, so each does all in one step.

    def on_accepted(self: Any, pid: int, time_accepted: float) -> None:
        super().on_accepted(pid, time_accepted)  # type: ignore[misc]
        try:
            holding.runs(self)
        except Exception as error:  # noqa: BLE001  raised on where it is to be
            caught("celery.task_accepted", error)

    def revoked(self: Any) -> Any:
        # Celery asks before it hands a task to the pool, with its delivery_info.
        try:  # noqa: SIM105  a context manager costs more than all of this
            self.delivery_info[RECEIVED] = self.message.followthrough_received
        except AttributeError:
            pass
        speaking.request = self
        try:
            return super().revoked()  # type: ignore[misc]
        finally:
            speaking.request = None

    def terminate(self: Any, *args: Any, **kwargs: Any) -> None:
        with _speaking(self):
            super().terminate(*args, **kwargs)  # type: ignore[misc]

    def cancel(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.time_start:
            # First: Celery calls it a retry, and nobody sends the task again.
            supervise.on_cancelled(self)
        with _speaking(self):
            super().cancel(*args, **kwargs)  # type: ignore[misc]

    def on_timeout(self: Any, soft: bool, timeout: float) -> None:
        with _speaking(self):
            super().on_timeout(soft, timeout)  # type: ignore[misc]

    def on_failure(self: Any, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        lost = _lost(self, exc_info)
        # Celery would raise a MemoryError on, and with it end the worker's main process.
        instead = supervise.on_lost(self, lost) if lost else _harmless(exc_info)
        with _speaking(self), _in_its_trace(self):
            info = exc_info if instead is None else _info(instead)
            result = super().on_failure(info, *args, **kwargs)  # type: ignore[misc]
        if lost and instead is None:
            tell = supervise.on_requeued if self.has_gone_back else supervise.on_lost_at_last
            tell(self, lost)
        return result

    def reject(self: Any, requeue: bool = False) -> None:
        self.has_gone_back = requeue and not self.acknowledged
        super().reject(requeue=requeue)  # type: ignore[misc]


class Request(Hooks, stock.Request):
    """For all tasks that name no class of their own."""


def see_all(app: Celery) -> None:
    """Put ours before the classes that tasks of the app name themselves."""
    for task in app.tasks.values():
        found = symbol_by_name(task.Request)
        if not issubclass(found, Hooks):
            task.Request = type(found.__name__, (Hooks, found), {})


@contextlib.contextmanager
def _speaking(request: Any) -> Iterator[None]:
    before, speaking.request = speaking.request, request
    try:
        yield
    finally:
        speaking.request = before


@contextlib.contextmanager
def _in_its_trace(request: Any) -> Iterator[None]:
    # What Celery publishes meanwhile, a retry or an errback, belongs to the task's trace.
    token = _attach(request, tracing.under_way(request.worker_pid or 0, request.id))
    try:
        yield
    finally:
        if token is not None:
            context.detach(token)


@guarded("celery.attach")
def _attach(request: Any, under_way: str) -> Token[context.Context]:
    found, attempt = trace_context(request.request_dict), parse(under_way)
    if attempt is not None:
        found = trace.set_span_in_context(trace.NonRecordingSpan(attempt), found)
    return context.attach(found)


@guarded("celery.worker_lost")
def _lost(request: Any, info: Any) -> BaseException | None:
    """The error, if the process of a request is gone and nobody meant it to be."""
    error = _error(info)
    if isinstance(error, WorkerLostError):
        noise.mark(error)
        return error
    if not isinstance(error, SystemExit) or request._already_revoked or request._already_cancelled:  # noqa: SLF001
        return None
    return WorkerLostError(f"Worker exited prematurely: exitcode {error.code}.")


def _error(info: Any) -> Any:
    error = info.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def _harmless(info: Any) -> BaseException | None:
    error = _error(info)
    return _Memory(str(error)) if isinstance(error, MemoryError) else None


def _info(error: BaseException) -> ExceptionInfo:
    noise.mark(error)
    try:
        raise error
    except type(error):
        return ExceptionInfo()
