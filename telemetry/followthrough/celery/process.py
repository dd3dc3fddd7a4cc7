"""A task's process span: made from its message, ended by its outcome."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode

from .. import attempts, names, redact, tell, tracing
from ..outcome import Outcome
from ..recorder import encode
from ..recorder.encode import Kept
from ..tracing import exceptions
from ..tracing.current import get_current
from . import aside, attributes, carrier, critical, timing
from .broker import system
from .carrier import Lineage
from .current import current

if TYPE_CHECKING:
    from .attempt import Attempt

_MOST_KEPT = 256
_NO_INFO: Mapping[str, Any] = {}


class Known(NamedTuple):
    """What is the same for each run of a task."""

    task: Any
    name: str
    span_name: str
    attributes: dict[str, Any]
    critical: bool
    throws: tuple[type[BaseException], ...]
    listed: tuple[str, ...]
    # What its spans begin with, by where its messages come from.
    kept: dict[tuple[Any, ...], Kept]


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
    return Known(task, name, f"process {name}", fixed, is_critical, tuple(task.throws), listed, {})


def start(attempt: Attempt, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Begin the span of a task that starts now."""
    now = time.time()
    request, known = attempt.request, attempt.known
    headers: dict[str, Any] = request.__dict__
    info = request.delivery_info or _NO_INFO
    is_redelivered, is_eager = info.get("redelivered"), request.is_eager
    attempt.queue = queue = str(info.get("routing_key") or "")
    pool = True if is_eager else current.pool
    alike = (queue, request.hostname, pool, request.origin, request.reply_to)
    try:
        kept = known.kept[alike]
    except (KeyError, TypeError):
        kept = _keep(known, alike, headers)
    found = kept.attributes.copy()
    attributes.note_message(found, headers, task_id)
    if priority := info.get("priority"):
        found[names.CELERY_PRIORITY] = priority
    if is_redelivered:
        found[names.CELERY_REDELIVERED] = True
    if request.chord:
        found |= attributes.of_chord(request.chord)
    usual = None
    if not (is_eager or is_redelivered or request.retries or current.use_span_links):
        usual = carrier.usual(headers)
    if usual is None:
        lineage = carrier.NONE if is_eager else carrier.read(headers)
        attempt.context, links, attempt.origin = _parent(request, headers, info, lineage)
        sent = lineage.sent
    else:
        attempt.context, (attempt.origin, sent) = get_current(), usual
    received, eta = info.get(timing.RECEIVED), request.eta
    found |= timing.waits(
        sent,
        received if type(received) is float else None,
        timing.timestamp(eta) if eta else None,
        now,
    )
    attempt.wait = timing.wait(sent, now)
    if known.listed:
        found |= attributes.arguments(known.task.run, known.listed, args, kwargs)
    # Last, and as a function of Python's returns: cut off before that, all of it is made anew.
    if usual is None:
        attempt.span = current.tracer.start_span(
            known.span_name, attempt.context, SpanKind.CONSUMER, found, links
        )
    else:
        # Its parent is the sender and there are no links: the same span by a shorter way.
        is_clean = not known.listed and (not priority or type(priority) is int)
        attempt.span = tracing.start_below(
            current.tracer,
            known.span_name,
            attempt.origin,
            attempt.context,
            SpanKind.CONSUMER,
            found,
            kept if is_clean else None,
        )


def _keep(known: Known, alike: tuple[Any, ...], headers: Mapping[str, Any]) -> Kept:
    """What the spans of a task begin with whose messages are alike, for this one and the next."""
    queue, worker, pool, *_ = alike
    found = known.attributes.copy()
    if queue:
        found[names.MESSAGING_DESTINATION] = queue
    if worker:
        found[names.CELERY_WORKER] = str(worker)
    if pool is True:
        found[names.CELERY_EAGER] = True
    elif pool:
        found[names.CELERY_POOL] = pool
    found |= attributes.of_sender(headers)
    made = encode.kept(found)
    if len(known.kept) >= _MOST_KEPT:
        known.kept.clear()
    # It may be what nobody sane sends.
    with suppress(TypeError):
        known.kept[alike] = made
    return made


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
        found[names.TIME_RUNNING] = round(seconds - stored, 6) if seconds > stored else 0.0
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
