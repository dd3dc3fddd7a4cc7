"""Where a task is published: its send span, its message's headers, a count and a debug line."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, signals
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY

from .. import guard, metrics, names, redact, tell, tracing
from ..guard import guarded
from ..outcome import decide
from ..tracing import exceptions, ids, propagation
from ..tracing.current import attach, detach, get_current, is_suppressed
from . import carrier, critical, interrupted, replaced
from .carrier import Lineage
from .current import current
from .execute import running
from .sending import Sending, attributes_of, forget, id_of, queue_of
from .signals import connect as connect_signal

MOST_PARENTS = 256


_sending: ContextVar[Sending | None] = ContextVar("followthrough_sending", default=None)
# The header tasks of a chord whose body is about to be sent.
waited_for: ContextVar[Sequence[SpanContext]] = ContextVar("followthrough_waited", default=())

# How many messages each of the last parents has sent, by their span ids.
_sent: OrderedDict[int, int] = OrderedDict()


class _Patched:
    undo: Callable[[], None] | None = None


def connect() -> None:
    """Trace, count and log what is published."""
    # These guard themselves: the guard's call costs as much as many a hook.
    connect_signal(signals.before_task_publish, on_publishing, is_hot=True)
    connect_signal(signals.after_task_publish, on_published, is_hot=True)
    if _Patched.undo is None:
        _Patched.undo = replaced.method(Celery, "send_task", _told)


def disconnect() -> None:
    """Undo the part of `connect` that isn't a signal."""
    if _Patched.undo is not None:
        _Patched.undo()
        _Patched.undo = None
    forget()


def _told(stock: Any) -> Any:
    def send_task(app: Celery, /, name: Any, *args: Any, **kwargs: Any) -> Any:
        sending = Sending(app, name)
        outer = _sending.set(sending)
        try:
            return stock(app, name, *args, **kwargs)
        except BaseException as error:
            # Celery has no signal for this.
            _fail(sending, error)
            raise
        finally:
            if sending.token is not None or not sending.is_ended:
                interrupted.finish(_leave, sending, send_again=True)
            _sending.reset(outer)

    return send_task


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
    try:
        for is_again in interrupted.TWICE:
            try:
                sending = _sending.get()
                if sending is None or not isinstance(headers, dict):
                    return
                if sending.token is not None and not is_again:
                    return
                _publishing(
                    sending, sender, headers, body, routing_key, exchange, properties, declare
                )
            except SoftTimeLimitExceeded:
                continue
            if is_again:
                interrupted.again()
            return
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("celery.before_task_publish", error)


def _publishing(
    sending: Sending,
    name: str,
    headers: dict[str, Any],
    body: Any,
    routing_key: str | None,
    exchange: Any,
    properties: Any,
    declare: Any,
) -> None:
    """Start the span and write the headers; may be called again where it was cut off."""
    here = sending.here
    if here is None:
        here = sending.here = get_current()
    sending.name, task_id = name, headers.get("id")
    sending.task_id = task_id if type(task_id) is str and task_id else id_of(headers, body)
    sending.queue = queue_of(declare, routing_key)
    if here and is_suppressed(here):
        return
    ours: dict[str, Any] = {"sent": round(time.time(), 6)}
    waited = waited_for.get()
    if waited or headers.get("retries"):
        lineage = _lineage(headers, sending.task_id, ours["sent"], tuple(waited))
        ours, waited = carrier.write(lineage), lineage.links
    span = sending.span
    if span is None:
        span = sending.span = _start(sending, here, waited, headers, body, exchange, properties)
    inside = Context({**here, _SPAN_KEY: span})
    if sending.token is None:
        sending.token = attach(inside)
    headers.update(propagation.into_message(inside))
    headers[carrier.HEADER] = ours


def _start(
    sending: Sending,
    here: Context,
    waited: Sequence[SpanContext],
    headers: dict[str, Any],
    body: Any,
    exchange: Any,
    properties: Any,
) -> trace.Span:
    found, kept = attributes_of(sending, headers, body, exchange, properties)
    above: Any = here.get(_SPAN_KEY)
    above = None if above is None else above.get_span_context()
    links = [Link(each) for each in waited] if waited else []
    if above is not None and above.is_valid and _count(above.span_id) > current.fan_out:
        # After too many children of one parent, a new trace.
        links.insert(0, Link(above))
        above = None
    return tracing.start_below(
        current.tracer,
        f"send {sending.name}",
        above,
        here,
        SpanKind.PRODUCER,
        found,
        kept,
        links,
    )


def on_published(sender: str, **_: Any) -> None:
    try:
        for is_again in interrupted.TWICE:
            try:
                sending = _sending.get()
                if sending is None:
                    return
                if not sending.is_counted:
                    metrics.count_published(sender, sending.queue)
                    sending.is_counted = True
                    if tell.logs_at(logging.DEBUG):
                        known = {"task": sender, "task_id": sending.task_id, "queue": sending.queue}
                        tell.logger.debug(names.TASK_PUBLISHED, **known)
                _leave(sending)
            except SoftTimeLimitExceeded:
                continue
            if is_again:
                interrupted.again()
            return
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("celery.after_task_publish", error)


def _leave(sending: Sending) -> None:
    try:
        token = sending.token
        if token is not None:
            detach(token)
            sending.token = None
        if sending.span is not None and not sending.is_ended:
            sending.span.end()
            sending.is_ended = True
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("celery.publish_end", error)


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
        attributes=attributes_of(sending, {}, None, None, None)[0],
        start_time=sending.started,
    )


def _lineage(
    headers: dict[str, Any], task_id: str, sent: float, links: tuple[SpanContext, ...]
) -> Lineage:
    """What a message's own header says; a retry brings along the headers of its last attempt."""
    if not headers.get("retries"):
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


def _count(span_id: int) -> int:
    count = _sent.pop(span_id, 0) + 1
    _sent[span_id] = count
    if len(_sent) > MOST_PARENTS:
        _sent.popitem(last=False)
    return count
