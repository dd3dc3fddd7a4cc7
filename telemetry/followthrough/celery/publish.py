"""Where a task is published: its send span, its message's headers, a count and a debug line."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any

from celery import Celery, signals
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled, unwrap
from opentelemetry.trace import Link, SpanContext, SpanKind
from wrapt import wrap_function_wrapper

from .. import metrics, names, redact, tell
from ..guard import guarded
from ..outcome import decide
from ..tracing import exceptions, ids, propagation
from ..tracing.current import attach, detach, get_current
from . import attributes, carrier, critical, interrupted
from .broker import system
from .carrier import Lineage
from .current import current
from .execute import running
from .signals import connect as connect_signal

MOST_PARENTS = 256


class Sending:
    """One call of `send_task`: what is known of its message, and its span once that has begun."""

    __slots__ = (
        "app",
        "is_ended",
        "name",
        "parent",
        "queue",
        "span",
        "started",
        "task_id",
        "token",
    )

    def __init__(self, app: Celery, name: str) -> None:
        self.app, self.name = app, name
        self.started = time.time_ns()
        self.task_id = self.queue = ""
        self.span: trace.Span | None = None
        self.parent: Context | None = None
        self.token: Token[Context] | None = None
        self.is_ended = False


_sending: ContextVar[Sending | None] = ContextVar("followthrough_sending", default=None)
# The header tasks of a chord whose body is about to be sent.
waited_for: ContextVar[Sequence[SpanContext]] = ContextVar("followthrough_waited", default=())

# How many messages each of the last parents has sent, by their span ids.
_sent: OrderedDict[int, int] = OrderedDict()


class _Patched:
    done = False


def connect() -> None:
    """Trace, count and log what is published."""
    connect_signal(signals.before_task_publish, on_publishing)
    connect_signal(signals.after_task_publish, on_published)
    if not _Patched.done:
        wrap_function_wrapper("celery", "Celery.send_task", _send_task)
        _Patched.done = True


def disconnect() -> None:
    """Undo the part of `connect` that isn't a signal."""
    if _Patched.done:
        unwrap(Celery, "send_task")
        _Patched.done = False


def _send_task(wrapped: Any, app: Celery, args: Any, kwargs: Any) -> Any:
    sending = Sending(app, str(args[0] if args else kwargs.get("name", "")))
    outer = _sending.set(sending)
    try:
        return wrapped(*args, **kwargs)
    except BaseException as error:
        # Celery has no signal for this.
        _fail(sending, error)
        raise
    finally:
        if sending.token is not None or not sending.is_ended:
            interrupted.finish(_leave, sending, send_again=True)
        _sending.reset(outer)


def on_publishing(
    sender: str,
    headers: Any = None,
    body: Any = None,
    routing_key: str | None = None,
    exchange: Any = None,
    properties: Any = None,
    declare: Any = None,
    **_: Any,
) -> None:
    sending = _sending.get()
    if sending is None or sending.token is not None or not isinstance(headers, dict):
        return
    sending.name, sending.task_id = sender, _id(headers, body)
    sending.queue = _queue(declare, routing_key)
    if is_instrumentation_enabled():
        lineage = _lineage(headers, sending.task_id)
        about = _attributes(sending, headers, body, exchange, properties)
        interrupted.finish(_begin, sending, headers, lineage, about, send_again=True)


def _begin(
    sending: Sending, headers: dict[str, Any], lineage: Lineage, about: dict[str, Any]
) -> None:
    """Start the span and write the headers; may be called again where it was cut off."""
    if sending.span is None:
        sending.parent, links = _parent(lineage)
        sending.span = current.tracer.start_span(
            f"send {sending.name}",
            context=sending.parent,
            kind=SpanKind.PRODUCER,
            attributes=about,
            links=links,
        )
    if sending.token is None:
        sending.token = attach(trace.set_span_in_context(sending.span, sending.parent))
    headers.update(propagation.into_message())
    headers[carrier.HEADER] = carrier.write(lineage)


def on_published(sender: str, **_: Any) -> None:
    sending = _sending.get()
    if sending is None:
        return
    metrics.count_published(sender, sending.queue)
    if tell.logs_at(logging.DEBUG):
        tell.logger.debug(
            names.TASK_PUBLISHED, task=sender, task_id=sending.task_id, queue=sending.queue
        )
    interrupted.finish(_leave, sending, send_again=True)


@guarded("celery.publish_end")
def _leave(sending: Sending) -> None:
    if sending.token is not None:
        detach(sending.token)
        sending.token = None
    if sending.span is not None and not sending.is_ended:
        sending.is_ended = True
        sending.span.end()


@guarded("celery.publish_failed")
def _fail(sending: Sending, error: BaseException) -> None:
    if sending.is_ended:
        # It was sent; what failed came afterwards.
        return
    task = sending.app.tasks.get(sending.name)
    outcome = decide("publish_failed", error)
    span = sending.span or _late_span(sending)
    span.set_attributes({names.CELERY_OUTCOME: outcome.kind, names.ERROR_TYPE: outcome.error_type})
    span.set_status(trace.StatusCode.ERROR, redact.text(outcome.message))
    exceptions.record(span, error)
    if sending.span is None:
        span.end()
    tell.task(
        outcome,
        name=sending.name,
        task_id=sending.task_id,
        critical=critical.is_critical(sending.name, task),
        label=None if task is not None else names.UNKNOWN_TASK,
        queue=sending.queue,
        **ids.of(span),
    )


def _late_span(sending: Sending) -> trace.Span:
    """The span of a message that failed before Celery said anything about it."""
    return current.tracer.start_span(
        f"send {sending.name}",
        kind=SpanKind.PRODUCER,
        attributes=_attributes(sending, {}, None, None, None),
        start_time=sending.started,
    )


def _lineage(headers: dict[str, Any], task_id: str) -> Lineage:
    """What the message's own header says; a retry brings along the headers of its last attempt."""
    links, sent = tuple(waited_for.get()), round(time.time(), 6)
    retries = headers.get("retries")
    if not retries:
        return Lineage(sent, links=links)
    inherited = carrier.read(headers)
    attempt = running(task_id)
    origin = inherited.origin or carrier.parse(headers.get("traceparent"))
    return Lineage(
        sent,
        origin=origin or (attempt.origin if attempt else None),
        attempt=attempt.span.get_span_context() if attempt else None,
        links=links or inherited.links,
    )


def _parent(lineage: Lineage) -> tuple[Context, list[Link]]:
    """The send span's context and links; after too many children of one parent, a new trace."""
    links = [Link(each) for each in lineage.links]
    here = get_current()
    parent = trace.get_current_span(here).get_span_context()
    if parent.is_valid and _count(parent.span_id) > current.fan_out:
        root = trace.set_span_in_context(trace.INVALID_SPAN, here)
        return root, [Link(parent), *links]
    return here, links


def _count(span_id: int) -> int:
    count = _sent.pop(span_id, 0) + 1
    _sent[span_id] = count
    if len(_sent) > MOST_PARENTS:
        _sent.popitem(last=False)
    return count


def _attributes(
    sending: Sending, headers: Mapping[str, Any], body: Any, exchange: Any, properties: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {
        names.MESSAGING_SYSTEM: system(sending.app),
        names.MESSAGING_OPERATION_NAME: "send",
        names.MESSAGING_OPERATION_TYPE: "send",
        names.CELERY_TASK: sending.name,
    }
    if sending.queue:
        found[names.MESSAGING_DESTINATION] = sending.queue
    found |= attributes.of_message(headers, sending.task_id)
    if exchange:
        found[names.CELERY_EXCHANGE] = str(getattr(exchange, "name", exchange))
    if priority := (properties or {}).get("priority"):
        found[names.CELERY_PRIORITY] = priority
    if isinstance(body, tuple) and (chord := attributes.chord(body[2].get("chord"))):
        found[names.CELERY_CHORD] = chord
    return found


def _id(headers: Mapping[str, Any], body: Any) -> str:
    # In Celery's first protocol the body has it.
    found = headers.get("id") or (body.get("id") if isinstance(body, dict) else None)
    return str(found or "")


def _queue(declare: Any, routing_key: str | None) -> str:
    name = getattr(declare[0], "name", "") if declare else ""
    return name or routing_key or ""
