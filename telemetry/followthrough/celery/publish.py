"""Where a task is published: its send span, its message's headers, a count and a debug line."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from logging import DEBUG
from typing import TYPE_CHECKING, Any

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
from . import attributes, carrier, critical, interrupted, replaced
from .attributes import LONGEST, NO_LIMITS
from .carrier import Lineage
from .current import current
from .execute import running
from .sending import Sending, attributes_of, forget, id_of, kept_of, queue_of
from .signals import connect as connect_signal

if TYPE_CHECKING:
    from ..recorder.encode import Kept

MOST_PARENTS = 256
# What each message looks up, by one step less.
_HEADER, _MESSAGE_ID, _PRODUCER = carrier.HEADER, names.MESSAGING_MESSAGE_ID, SpanKind.PRODUCER


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
        try:
            sending = _sending.get()
            if sending is None or sending.token is not None or not isinstance(headers, dict):
                return
            _publishing(sending, sender, headers, body, routing_key, exchange, properties, declare)
        except SoftTimeLimitExceeded:
            # As `interrupted.finish`, without its call.
            pass
        else:
            return
        sending = _sending.get()
        if sending is not None and isinstance(headers, dict):
            _publishing(sending, sender, headers, body, routing_key, exchange, properties, declare)
        interrupted.again()
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
    """Start the span and write the headers; may be called again where it was cut off.

    In few steps for nearly all messages, which are a task's first one to a known place.
    """
    here = sending.here
    if here is None:
        here = sending.here = get_current()
    sending.name = name
    try:
        queue: Any = (declare[0].name or routing_key) if declare else routing_key
        task_id = headers["id"]
        kept: Any = kept_of[sending.app, name, queue, exchange, headers["origin"], None]
        is_usual = (
            task_id.__class__ is str
            and not headers["retries"]
            and headers["timelimit"] == NO_LIMITS
            and not properties.get("priority")
            and not body[2]["chord"]
            and "reply_to" not in headers
            and not waited_for.get()
        )
    except (AttributeError, LookupError, TypeError):
        is_usual = False
    if not is_usual:
        queue, task_id = queue_of(declare, routing_key), id_of(headers, body)
    sending.queue, sending.task_id = queue, task_id
    if here and is_suppressed(here):
        return
    ours: dict[str, Any] = {"sent": round(time.time(), 6)}
    links: Sequence[SpanContext] = ()
    if is_usual:
        found = {**kept.attributes, _MESSAGE_ID: task_id[:LONGEST]}
        if (
            headers["root_id"] != task_id
            or headers["parent_id"]
            or headers["group"]
            or headers["eta"]
            or headers["expires"]
        ):
            attributes.note_message(found, headers, task_id)
    else:
        found, kept = attributes_of(sending, headers, body, exchange, properties)
        links = tuple(waited_for.get())
        if links or headers.get("retries"):
            lineage = _lineage(headers, task_id, ours["sent"], links)
            ours, links = carrier.write(lineage), lineage.links
    span = sending.span
    if span is None:
        span = sending.span = _start(name, here, links, found, kept)
    inside = Context({**here, _SPAN_KEY: span})
    if sending.token is None:
        sending.token = attach(inside)
    headers.update(propagation.into_message(inside))
    headers[_HEADER] = ours


def _start(
    name: str,
    here: Context,
    waited: Sequence[SpanContext],
    found: dict[str, Any],
    kept: Kept | None,
) -> trace.Span:
    above: Any = here.get(_SPAN_KEY) if here else None
    links = [Link(each) for each in waited] if waited else ()
    if above is not None:
        above = above.get_span_context()
        # By their places: each property of a context is a call.
        if above[5] and _count(above[1]) > current.fan_out:
            # After too many children of one parent, a new trace.
            links = [Link(above), *links]
            above = None
    return tracing.start_below(
        current.tracer, f"send {name}", above, here, _PRODUCER, found, kept, links
    )


def on_published(sender: str, **_: Any) -> None:
    try:
        try:
            _published(sender)
        except SoftTimeLimitExceeded:
            pass
        else:
            return
        _published(sender)
        interrupted.again()
    except Exception as error:  # noqa: BLE001  raised on where it is to be
        guard.caught("celery.after_task_publish", error)


def _published(name: str) -> None:
    sending = _sending.get()
    if sending is None:
        return
    if not sending.is_counted:
        metrics.count_published(name, sending.queue)
        sending.is_counted = True
        if tell.found_levels.get(DEBUG) is not False and tell.logs_at(DEBUG):
            known = {"task": name, "task_id": sending.task_id, "queue": sending.queue}
            tell.logger.debug(names.TASK_PUBLISHED, **known)
    _leave(sending)


def _leave(sending: Sending) -> None:
    try:
        token, span = sending.token, sending.span
        if token is not None:
            detach(token)
            sending.token = None
        if span is not None and not sending.is_ended:
            span.end()
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
