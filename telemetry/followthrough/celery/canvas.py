"""What workflows do that no signal tells: chords that are joined or fail, and errbacks run inline.

A chord's body is to be linked to all its header tasks, which end in different processes. Celery
keeps the results of a chord's tasks in Redis, each as `[1, id, state, result]`, and reads all but
the first member: there each task leaves the name of its span. With other result backends the body
is a child of the task that ended last, and linked to none.
"""

from __future__ import annotations

import functools
import sys
from contextvars import ContextVar
from typing import Any

from celery import group
from celery.backends.base import Backend
from celery.canvas import Signature
from opentelemetry import context, trace
from opentelemetry.trace import Link, SpanContext, SpanKind

from .. import names, tell
from ..guard import guarded
from ..outcome import Outcome, decide
from ..tracing import ids
from . import carrier, critical, process
from .broker import system
from .current import current
from .publish import waited_for


class _Part:
    """A header task of a chord that ends, and what the last one of them reads of the others."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.span = trace.get_current_span().get_span_context()
        self.links: list[SpanContext] = []


_part: ContextVar[_Part | None] = ContextVar("followthrough_part", default=None)
# Set while a failed task's errbacks are called.
_failed: ContextVar[bool] = ContextVar("followthrough_failed", default=False)


class _Patched:
    stock: list[tuple[type, str, Any]] = []  # noqa: RUF012  replaced, never changed


def connect() -> None:
    """Follow chords and errbacks."""
    if _Patched.stock:
        return
    patches = [
        (Backend, "chord_error_from_stack", _chord_error_from_stack),
        (Backend, "_call_task_errbacks", _call_task_errbacks),
        (Signature, "__call__", _call),
    ]
    if (redis := sys.modules.get("celery.backends.redis") or _redis()) is not None:
        patches += [
            (redis.RedisBackend, "on_chord_part_return", _on_chord_part_return),
            (Backend, "encode", _encode),
            (Backend, "decode", _decode),
        ]
    _Patched.stock = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
    for owner, name, ours in patches:
        setattr(owner, name, functools.wraps(vars(owner)[name])(ours(vars(owner)[name])))


def disconnect() -> None:
    """Undo `connect`."""
    for owner, name, stock in _Patched.stock:
        setattr(owner, name, stock)
    _Patched.stock = []


def _redis() -> Any:
    """Celery's Redis backend, if it keeps a chord's results by their task's id."""
    try:
        from celery.backends import redis  # noqa: PLC0415
    except ImportError:
        return None
    return redis if hasattr(redis, "CHORD_PART_RETURN_LUA") else None


def _on_chord_part_return(stock: Any) -> Any:
    def on_chord_part_return(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        part = _Part(request.id)
        token, waited = _part.set(part), waited_for.set(part.links)
        try:
            return stock(self, request, *args, **kwargs)
        finally:
            waited_for.reset(waited)
            _part.reset(token)

    return on_chord_part_return


def _encode(stock: Any) -> Any:
    def encode(self: Any, data: Any) -> Any:
        part = _part.get()
        if part is not None and isinstance(data, list) and data[:2] == [1, part.task_id]:
            data = [carrier.text(part.span), *data[1:]]
        return stock(self, data)

    return encode


def _decode(stock: Any) -> Any:
    def decode(self: Any, payload: Any) -> Any:
        data = stock(self, payload)
        part = _part.get()
        if part is not None and isinstance(data, list) and len(data) == 4:  # noqa: PLR2004
            span = carrier.parse(data[0])
            if span is not None and len(part.links) < carrier.MOST_LINKS:
                part.links.append(span)
        return data

    return decode


def _chord_error_from_stack(stock: Any) -> Any:
    def chord_error_from_stack(self: Any, callback: Any, exc: Any = None) -> Any:
        cause = exc or sys.exception()
        try:
            return stock(self, callback, exc)
        finally:
            _abandoned(callback, cause)

    return chord_error_from_stack


@guarded("celery.chord_abandoned")
def _abandoned(callback: Any, cause: Any) -> None:
    """Tell that a chord's body, or each task of one that is a group, never runs."""
    if isinstance(callback, group):
        for each in callback.tasks:
            _abandoned(each, cause)
        return
    name, task_id = str(callback.task), str(callback.id or "")
    outcome = decide("abandoned", cause)
    links = [Link(each) for each in waited_for.get()]
    span = current.tracer.start_span(
        f"process {name}",
        kind=SpanKind.CONSUMER,
        attributes=_attributes(callback, name, task_id),
        links=links,
    )
    process.end(span, outcome)
    _tell(outcome, callback, task_id, span)


def _attributes(signature: Any, name: str, task_id: str) -> dict[str, Any]:
    """What is known of a task that was never sent."""
    route = signature.app.amqp.router.route(dict(signature.options), name, (), {})
    queue = getattr(route.get("queue"), "name", None) or route.get("routing_key")
    return {
        names.MESSAGING_SYSTEM: system(signature.app),
        names.MESSAGING_DESTINATION: str(queue or ""),
        names.MESSAGING_OPERATION_NAME: "process",
        names.MESSAGING_OPERATION_TYPE: "process",
        names.MESSAGING_MESSAGE_ID: task_id,
        names.CELERY_TASK: name,
    }


def _call_task_errbacks(stock: Any) -> Any:
    def _call_task_errbacks(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _failed.set(True)
        try:
            return stock(self, *args, **kwargs)
        finally:
            _failed.reset(token)

    return _call_task_errbacks


def _call(stock: Any) -> Any:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if not _failed.get():
            return stock(self, *args, **kwargs)
        token = _failed.set(False)
        try:
            return _run_errback(stock, self, args, kwargs)
        finally:
            _failed.reset(token)

    return __call__


def _run_errback(stock: Any, errback: Any, args: Any, kwargs: Any) -> Any:
    """Run an errback that Celery calls as a function, in a span of its own, and tell its end."""
    span = current.tracer.start_span(
        f"process {errback.task}",
        attributes={
            names.CELERY_TASK: str(errback.task),
            names.MESSAGING_MESSAGE_ID: str(errback.id or ""),
        },
    )
    token = context.attach(trace.set_span_in_context(span))
    error: Exception | None = None
    try:
        return stock(errback, *args, **kwargs)
    except Exception as raised:
        error = raised
        raise
    finally:
        context.detach(token)
        _errback_ended(span, errback, error)


@guarded("celery.errback_end")
def _errback_ended(span: trace.Span, errback: Any, error: Exception | None) -> None:
    outcome = decide("FAILURE" if error else "SUCCESS", error)
    process.end(span, outcome, error)
    _tell(outcome, errback, str(errback.id or ""), span, error)


def _tell(
    outcome: Outcome,
    signature: Any,
    task_id: str,
    span: trace.Span,
    error: BaseException | None = None,
) -> None:
    task = signature.app.tasks.get(signature.task)
    tell.task(
        outcome,
        name=str(signature.task),
        task_id=task_id,
        critical=critical.is_critical(str(signature.task), task),
        label=None if task is not None else names.UNKNOWN_TASK,
        exception=error,
        **ids.of(span),
    )
