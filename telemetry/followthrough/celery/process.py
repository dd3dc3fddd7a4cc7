"""A task's process span: made from its message, ended by its outcome."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode

from .. import attempts, names, redact, tell, tracing
from ..outcome import SUCCESS, Outcome
from ..recorder import encode
from ..recorder.encode import Kept
from ..tracing import exceptions, propagation
from ..tracing.current import get_current, is_suppressed
from . import aside, attributes, carrier, critical, timing
from .attributes import LONGEST, NO_LIMITS
from .broker import system
from .carrier import Lineage
from .current import current

if TYPE_CHECKING:
    from .attempt import Attempt

_MOST_KEPT = 256
_MOST_TASKS = 10_000
_NO_INFO: Mapping[str, Any] = {}
# What each task looks up, by one step less.
_HEADER, _RECEIVED, _CONSUMER = carrier.HEADER, timing.RECEIVED, SpanKind.CONSUMER
_MESSAGE_ID = names.MESSAGING_MESSAGE_ID
_OUTCOME, _RUNNING, _STORING = names.CELERY_OUTCOME, names.TIME_RUNNING, names.TIME_STORING
_PUBLISHED, _BROKER, _PREFETCHED = names.TIME_PUBLISHED, names.TIME_BROKER, names.TIME_PREFETCHED
_waits = encode.Numbers(_PUBLISHED, _BROKER, _PREFETCHED)
_success = encode.Numbers(_RUNNING, _STORING, before=encode.field(_OUTCOME, SUCCESS.kind))


class Shape(NamedTuple):
    """What the spans and lines of a task have in common whose messages are alike."""

    attributes: dict[str, Any]
    # The same as a span takes them; None where what is added to them needs a look.
    kept: Kept | None
    # What its lines carry beside its id.
    fields: dict[str, Any]


class Known(NamedTuple):
    """What is the same for each run of a task."""

    task: Any
    name: str
    span_name: str
    attributes: dict[str, Any]
    critical: bool
    throws: tuple[type[BaseException], ...]
    listed: tuple[str, ...]
    shapes: dict[tuple[Any, ...], Shape]


# By the tasks themselves.
_known: dict[Any, Known] = {}


def forget() -> None:
    """Look at each task anew."""
    _known.clear()


def known(task: Any) -> Known:
    """What is known of a task; looked at once."""
    try:
        return _known[task]
    except KeyError:
        if len(_known) >= _MOST_TASKS:
            _known.clear()
        found = _known[task] = _look(task)
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
    """Begin the span of a task that starts now.

    Nearly all are the first attempt of a message that says who sent it and when. These are begun
    right here, in few steps; what isn't as it nearly always is, is seen to further down.
    """
    now = time.time()
    request, known = attempt.request, attempt.known
    headers: dict[str, Any] = request.__dict__
    alike = None
    try:
        ours, info = headers[_HEADER], headers["delivery_info"]
        sent, received = ours["sent"], info[_RECEIVED]
        alike = (
            info["routing_key"],
            info["priority"],
            info["redelivered"],
            request.retries,
            request.is_eager,
            request.hostname,
            request.origin,
            request.reply_to,
            current.pool,
            propagate._HTTP_TEXT_FORMAT,  # noqa: SLF001  without the API's call
        )
        shape = known.shapes[alike]
        origin = carrier.parse(headers["traceparent"])
        is_usual = (
            0.0 < sent <= received <= now
            and sent.__class__ is received.__class__ is float
            and len(ours) == 1
            and "tracestate" not in headers
            and "baggage" not in headers
        )
    except (KeyError, TypeError):
        if alike is not None:
            _learn(known, alike)
        is_usual, origin = False, None
    here = get_current()
    if not is_usual or origin is None or (here and is_suppressed(here)):
        _start(attempt, task_id, args, kwargs, now)
        return
    message_id = task_id[:LONGEST]
    queued, prefetched = round(received - sent, 6), round(now - received, 6)
    found = {
        **shape.attributes,
        _MESSAGE_ID: message_id,
        _PUBLISHED: sent,
        _BROKER: queued,
        _PREFETCHED: prefetched,
    }
    kept = shape.kept
    if (
        request.root_id != task_id
        or request.timelimit != NO_LIMITS
        or request.eta
        or request.expires
        or request.parent_id
        or request.group
        or request.chord
        or known.listed
    ):
        found |= _more(attempt, task_id, args, kwargs)
        if request.eta:
            found |= timing.waits(sent, received, timing.timestamp(request.eta), now)
    elif kept is not None:
        fields = kept.fields + encode.field(_MESSAGE_ID, message_id)
        fields += _waits.of(sent, queued, prefetched)
        # As it makes itself, without a call.
        kept = tuple.__new__(Kept, (found, fields, len(found)))
    attempt.context = here
    attempt.origin = origin
    attempt.fields = shape.fields
    attempt.wait = round(now - sent, 6)
    # Last, and as a function of Python's returns: cut off before that, all of it is made anew.
    attempt.span = tracing.start_below(
        current.tracer, known.span_name, origin, here, _CONSUMER, found, kept
    )


def _learn(known: Known, alike: tuple[Any, ...]) -> None:
    """Keep what the spans of a task have in common whose messages are alike, if these are usual."""
    queue, *unusual, worker, origin, reply_to, pool, _ = alike
    if any(unusual) or current.use_span_links or not propagation.is_usual():
        return
    # By what is equal: 1 is True.
    if type(queue) is not str or (worker is not None and type(worker) is not str):
        return
    found = _common(known, queue, worker, pool)
    found |= attributes.of_sender({"origin": origin, "reply_to": reply_to})
    kept = None if known.listed else encode.kept(found)
    if len(known.shapes) >= _MOST_KEPT:
        known.shapes.clear()
    # It may be what nobody sane sends.
    with suppress(TypeError):
        known.shapes[alike] = Shape(found, kept, _fields(known, 1, queue))


def _common(known: Known, queue: str, worker: object, pool: object) -> dict[str, Any]:
    found = known.attributes.copy()
    if queue:
        found[names.MESSAGING_DESTINATION] = queue
    if worker:
        found[names.CELERY_WORKER] = str(worker)
    if pool:
        found[names.CELERY_POOL] = pool
    return found


def _fields(known: Known, number: int, queue: str) -> dict[str, Any]:
    fields: dict[str, Any] = {names.TASK: known.name, names.ATTEMPT: number}
    if queue:
        fields[names.QUEUE] = queue
    return fields


def _more(
    attempt: Attempt, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What a span says that few have."""
    request, known = attempt.request, attempt.known
    found: dict[str, Any] = {}
    attributes.note_message(found, request.__dict__, task_id)
    if request.chord:
        found |= attributes.of_chord(request.chord)
    if known.listed:
        found |= attributes.arguments(known.task.run, known.listed, args, kwargs)
    return found


def _start(
    attempt: Attempt, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], now: float
) -> None:
    """The same for each message there is, whoever sent it, and for each attempt."""
    request, known = attempt.request, attempt.known
    headers: dict[str, Any] = request.__dict__
    info = request.delivery_info or _NO_INFO
    is_eager, queue = request.is_eager, str(info.get("routing_key") or "")
    found = _common(known, queue, request.hostname, "" if is_eager else current.pool)
    if is_eager:
        found[names.CELERY_EAGER] = True
    found |= attributes.of_sender(headers)
    found |= _more(attempt, task_id, args, kwargs)
    if priority := info.get("priority"):
        found[names.CELERY_PRIORITY] = priority
    if info.get("redelivered"):
        found[names.CELERY_REDELIVERED] = True
    lineage = carrier.NONE if is_eager else carrier.read(headers)
    attempt.context, links, attempt.origin = _parent(request, headers, info, lineage)
    received, eta = info.get(timing.RECEIVED), request.eta
    found |= timing.waits(
        lineage.sent,
        received if type(received) is float else None,
        timing.timestamp(eta) if eta else None,
        now,
    )
    attempt.wait = timing.wait(lineage.sent, now)
    attempt.fields = _fields(known, request.retries + 1, queue)
    # As above.
    attempt.span = current.tracer.start_span(
        known.span_name, attempt.context, SpanKind.CONSUMER, found, links
    )


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


def end_well(span: trace.Span, seconds: float, stored: float) -> None:
    """End the span of a task that succeeded; of `seconds` in all, `stored` went to its result."""
    running, stored = round(seconds - stored, 6) if seconds > stored else 0.0, round(stored, 6)
    found = {_OUTCOME: SUCCESS.kind, _RUNNING: running, _STORING: stored}
    tracing.end_with(span, found, _success.of(running, stored))


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
