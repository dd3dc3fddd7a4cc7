"""A task's process span: made from its message, ended by its outcome."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode

from .. import attempts, names, redact, tell, tracing
from ..outcome import Outcome
from ..tracing import exceptions
from ..tracing.current import get_current
from . import aside, attributes, carrier, critical, timing
from .broker import system
from .carrier import Lineage
from .current import current


class Known(NamedTuple):
    """What is the same for each run of a task."""

    task: Any
    name: str
    span_name: str
    attributes: dict[str, Any]
    critical: bool
    throws: tuple[type[BaseException], ...]
    listed: tuple[str, ...]


class Started(NamedTuple):
    """A process span, the context that it is a child in, and what else its message says."""

    span: trace.Span
    context: Context
    origin: SpanContext | None
    queue: str
    wait: float | None


_known: dict[str, Known] = {}


def forget() -> None:
    """Look at each task anew."""
    _known.clear()


def known(task: Any) -> Known:
    """What is known of a task; looked at once."""
    found = _known.get(task.name)
    if found is None or found.task is not task:
        found = _known[task.name] = _look(task)
    return found


def _look(task: Any) -> Known:
    name = str(task.name)
    is_critical = critical.is_critical(name, task)
    fixed: dict[str, Any] = {
        names.MESSAGING_SYSTEM: system(task.app),
        names.MESSAGING_OPERATION_NAME: "process",
        names.MESSAGING_OPERATION_TYPE: "process",
        names.CELERY_TASK: name,
    }
    if is_critical:
        fixed[names.CELERY_CRITICAL] = True
    listed = tuple(getattr(task, "trace_args", ()))
    return Known(task, name, f"process {name}", fixed, is_critical, tuple(task.throws), listed)


def start(
    known: Known, request: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Started:
    """Begin the span of a task that starts now."""
    now = time.time()
    headers = vars(request)
    info = request.delivery_info or {}
    lineage = carrier.NONE if request.is_eager else carrier.read(headers)
    parent, links, origin = _parent(request, headers, info, lineage)
    queue = str(info.get("routing_key") or "")
    found = known.attributes | attributes.of_message(headers, task_id)
    found |= _of_delivery(request, info, queue)
    found |= _of_time(headers, lineage, now)
    if known.listed:
        found |= attributes.arguments(known.task.run, known.listed, args, kwargs)
    span = current.tracer.start_span(
        known.span_name,
        context=parent,
        kind=SpanKind.CONSUMER,
        attributes=found,
        links=links,
    )
    return Started(span, parent, origin, queue, timing.wait(lineage.sent, now))


def _parent(
    request: Any, headers: Mapping[str, Any], info: Mapping[str, Any], lineage: Lineage
) -> tuple[Context, list[Link], SpanContext | None]:
    """The context and the links of a process span, and the first send of its task.

    A later attempt is a child of the first send, as the first one was, and linked to the attempt
    before and to its own send.
    """
    here = get_current()
    if request.is_eager:
        return here, [], None
    base = trace.set_span_in_context(trace.INVALID_SPAN, here) if here else here
    received = carrier.received(headers, base)
    sender = trace.get_current_span(received).get_span_context()
    linked = [lineage.attempt or _earlier(headers, info), *lineage.links]
    origin = sender if sender.is_valid else None
    if lineage.origin is not None:
        linked.insert(0, origin)
        origin = lineage.origin
        received = trace.set_span_in_context(trace.NonRecordingSpan(origin), received)
    if current.use_span_links:
        linked.insert(0, origin)
        received = trace.set_span_in_context(trace.INVALID_SPAN, received)
    return received, [Link(each) for each in linked if each is not None], origin


def _earlier(headers: Mapping[str, Any], info: Mapping[str, Any]) -> SpanContext | None:
    """The attempt before, where the message itself can't say which it was."""
    if not (info.get("redelivered") or headers.get("retries")):
        return None
    folder, task_id = aside.state_dir(), str(headers.get("id"))
    if folder is None:
        return None
    try:
        found = attempts.of(folder, task_id).traceparent
    except OSError:
        found = ""
    # One that runs for longer than the broker waits for it is under way still.
    return carrier.parse(found or tracing.under_way(0, task_id))


def _of_delivery(request: Any, info: Mapping[str, Any], queue: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if queue:
        found[names.MESSAGING_DESTINATION] = queue
    if request.hostname:
        found[names.CELERY_WORKER] = request.hostname
    if request.is_eager:
        found[names.CELERY_EAGER] = True
    elif current.pool:
        found[names.CELERY_POOL] = current.pool
    if info.get("priority"):
        found[names.CELERY_PRIORITY] = info["priority"]
    if info.get("redelivered"):
        found[names.CELERY_REDELIVERED] = True
    if body := attributes.chord(request.chord):
        found[names.CELERY_CHORD] = body
    return found


def _of_time(headers: Mapping[str, Any], lineage: Lineage, now: float) -> dict[str, float]:
    eta = timing.timestamp(headers.get("eta"))
    return timing.waits(lineage.sent, timing.received(headers), eta, now)


def end(
    span: trace.Span,
    outcome: Outcome,
    error: BaseException | None = None,
    seconds: float | None = None,
    stored: float = 0.0,
) -> None:
    """End a span with its outcome; of `seconds` in all, `stored` went to the result backend."""
    found: dict[str, Any] = {names.CELERY_OUTCOME: outcome.kind}
    if seconds is not None:
        found[names.TIME_RUNNING] = round(max(0.0, seconds - stored), 6)
        found[names.TIME_STORING] = round(stored, 6)
    if outcome.error_type:
        found[names.ERROR_TYPE] = outcome.error_type
    if error is not None and (reason := tell.REASONS.get(outcome.kind)):
        found[reason] = redact.text(outcome.message[: attributes.LONGEST])
    span.set_attributes(found)
    if outcome.is_error:
        span.set_status(StatusCode.ERROR, redact.text(outcome.message) or None)
        if error is not None:
            exceptions.record(span, error)
    span.end()
