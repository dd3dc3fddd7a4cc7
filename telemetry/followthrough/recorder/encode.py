# ruff: noqa: SLF001  parts of spans are private, and the kit's bounds name the SDK's version
"""Spans and log records as OTLP (opentelemetry-proto: trace.proto, logs.proto), as bytes."""

from __future__ import annotations

import struct
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.trace import DEFAULT_TRACE_STATE as _NO_STATE
from opentelemetry.trace import SpanKind, Status

from .. import names, redact
from . import wire

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, TraceState

    from ..outcome import Outcome

_names = wire.Texts(b"\x2a")
_fields = wire.Fields(b"\x4a")
_severities, _events = wire.Texts(b"\x1a"), wire.Texts(b"\x62")
_DOUBLE = struct.Struct("<d")
_TIME = struct.Struct("<cQ")
ENDED = struct.Struct("<cQ2s")
_FLAGS = struct.Struct("<cI")
# SpanFlags: whether the parent is remote is known, and whether it is.
# By their numbers, as an enumeration's own hash is a call.
_KINDS = {kind.value: bytes((0x30, kind.value + 1)) for kind in SpanKind}
NO_STATUS = b"\x7a\x00"
UNSET = Status()
_LOCAL = b"\x85\x01\x00\x01\x00\x00"
_REMOTE = b"\x85\x01\x00\x03\x00\x00"


class Kept(NamedTuple):
    """Attributes that a span begins or ends with, their fields, and how many they are."""

    attributes: dict[str, Any]
    fields: bytes
    number: int


# What a span was at its start, or later: a Span message of it, its name, and how many attributes
# and links that holds. No class of its own, as one is made for each span.
Begun = tuple[bytes, str, int, int]


def kept(attributes: dict[str, Any]) -> Kept:
    """What many spans begin or end with, encoded once for all of them."""
    return Kept(attributes, _fields.of(list(attributes.items())), len(attributes))


def field(name: str, value: str) -> bytes:
    """The field of an attribute."""
    return _fields[name, value]


class Numbers:
    """Attributes whose values are fractions, encoded in one go; other fields may stand before."""

    def __init__(self, *names: str, before: bytes = b"") -> None:
        heads = [_fields[name, 0.0][: -_DOUBLE.size] for name in names]
        heads[0] = before + heads[0]
        self._heads = heads
        self._pack = struct.Struct("<" + "".join(f"{len(head)}sd" for head in heads)).pack

    def of(self, *values: float) -> bytes:
        """The fields of these values, one for each name."""
        return self._pack(*chain.from_iterable(zip(self._heads, values, strict=True)))


def begun(of: ReadableSpan, since: Kept | None = None) -> Begun:
    """What is known of a span that may be under way: all but its end, its events and its status.

    `since` is what its attributes begin with, if that was kept.
    """
    context, parent, links = of._context, of._parent, of._links
    if context is None:
        raise ValueError("a span without a context")
    attributes: Any = of._attributes
    if since is None:
        pairs = list(_plain(attributes).items())
        fields, number = _fields.of(pairs), len(pairs)
    else:
        _, fields, number = since
        if len(attributes) > number:
            # A copy is one step, so that another thread may set one meanwhile.
            pairs = list(attributes.copy().items())
            fields += _fields.of(pairs[number:])
            number = len(pairs)
    # By their places: each property of a context is a call.
    body = (
        b"\x0a\x10",
        context[0].to_bytes(16, "big"),
        b"\x12\x08",
        context[1].to_bytes(8, "big"),
        _names[of._name],
        _KINDS[of._kind._value_],
        _TIME.pack(b"\x39", of._start_time or 0),
        fields,
        _LOCAL if parent is None else _below(parent),
    )
    whole = b"".join(body)
    if context[4] is not _NO_STATE:
        whole += _state(b"\x1a", context[4])
    if links:
        whole += b"".join(map(_link, links))
    return whole, of._name, number, len(links)


def _below(parent: SpanContext) -> bytes:
    return b"\x22\x08" + parent[1].to_bytes(8, "big") + (_REMOTE if parent[2] else _LOCAL)


def begun_again(of: ReadableSpan, since: Begun) -> Begun:
    """The same of a light span later on, with what is new; what was there may not have changed."""
    return _since(of, since), of._name, len(of._attributes or ()), len(of._links)


def _since(of: ReadableSpan, since: Begun) -> bytes:
    """What was encoded before, and what is new."""
    body, name, known, links = since
    attributes: Any = of._attributes
    if len(attributes) > known:
        body += _fields.of(list(attributes.copy().items())[known:])
    if of._name is not name:
        # Of a field that is written twice the last one holds.
        body += _names[of._name]
    if of._links and len(of._links) > links:
        body += b"".join(map(_link, of.links[links:]))
    return body


def span(of: ReadableSpan, since: Begun | None = None) -> bytes:
    """A Span message, with what was encoded before, if it was; an end at 0: there is none yet."""
    body = begun(of, getattr(of, "kept", None))[0] if since is None else _since(of, since)
    status = of._status
    if status is UNSET or status.is_unset:
        body += ENDED.pack(b"\x41", of._end_time or 0, NO_STATUS)
    else:
        body += _TIME.pack(b"\x41", of._end_time or 0) + _status(status)
    if of._events:
        body += b"".join(map(_event, of.events))
    # A light span knows without being asked for each.
    if not getattr(of, "is_whole", False):
        dropped = (of.dropped_attributes, of.dropped_events, of.dropped_links)
        body += b"".join(map(_count, (b"\x50", b"\x60", b"\x70"), dropped))
    return body


def ended(body: bytes, end: int, outcome: Outcome, reason: str = "") -> bytes:
    """A Span message that was written as its span began, ended with an outcome.

    `reason` is the attribute that says why, where the status doesn't.
    Of a field that is written twice the last one holds, and what is repeated is added.
    """
    found = {names.ERROR_TYPE: outcome.error_type} if outcome.error_type else {}
    if names.CELERY_TASK.encode() in body:
        found[names.CELERY_OUTCOME] = outcome.kind
    if reason:
        found[reason] = outcome.message
    status = b""
    if outcome.is_error:
        status = wire.message(
            b"\x7a", _optional(b"\x12", redact.text(outcome.message)) + b"\x18\x02"
        )
    if outcome.kind == "success":
        status = _late(end, redact.text(outcome.message))
    return body + _TIME.pack(b"\x41", end) + wire.attributes(b"\x4a", found) + status


def _late(at: int, message: str) -> bytes:
    """The event of a task that had succeeded before its process was lost."""
    event = _TIME.pack(b"\x09", at) + wire.text(b"\x12", names.PROCESS_LOST)
    event += wire.attributes(b"\x1a", {names.EXCEPTION_MESSAGE: message})
    return wire.message(b"\x5a", event)


def log(
    *,
    timestamp: int | None,
    observed: int,
    severity: int,
    severity_text: str | None,
    body: Any,
    attributes: Any,
    dropped: int,
    trace_id: int,
    span_id: int,
    flags: int,
    event_name: str | None,
) -> bytes:
    """A LogRecord message; times are nanoseconds since 1970, ids that are 0 none."""
    parts = [
        _TIME.pack(b"\x09", timestamp) if timestamp else b"",
        b"\x10" + wire.varint(severity) if severity else b"",
        _severities[severity_text] if severity_text else b"",
        wire.message(b"\x2a", wire.any_value(body)),
        wire.attributes(b"\x32", _plain(attributes)),
        _count(b"\x38", dropped),
        _FLAGS.pack(b"\x45", flags) if flags else b"",
        b"\x4a\x10" + trace_id.to_bytes(16, "big") if trace_id else b"",
        b"\x52\x08" + span_id.to_bytes(8, "big") if span_id else b"",
        _TIME.pack(b"\x59", observed),
        _events[event_name] if event_name else b"",
    ]
    return b"".join(parts)


def resource(of: Resource) -> bytes:
    """The fields of a ResourceSpans or ResourceLogs that say where its content comes from."""
    body = wire.attributes(b"\x0a", of.attributes)
    return wire.message(b"\x0a", body) + _optional(b"\x1a", of.schema_url)


def scope(of: InstrumentationScope | None) -> bytes:
    """The fields of a ScopeSpans or ScopeLogs that say which instrumentation made its content."""
    if of is None:
        return b"\x0a\x00"
    body = _optional(b"\x0a", of.name) + _optional(b"\x12", of.version)
    body += wire.attributes(b"\x1a", of.attributes or {})
    return wire.message(b"\x0a", body) + _optional(b"\x1a", of.schema_url)


def _plain(attributes: Any) -> dict[str, Any]:
    """A copy, which is made in one step, so that another thread may set one meanwhile."""
    if type(attributes) is dict:
        return attributes.copy()
    return dict(getattr(attributes, "_dict", attributes) or ())


def _optional(tag: bytes, value: str | None) -> bytes:
    return wire.text(tag, value) if value else b""


def _count(tag: bytes, number: int) -> bytes:
    return tag + wire.varint(number) if number else b""


def _state(tag: bytes, state: TraceState | None) -> bytes:
    return wire.text(tag, state.to_header()) if state else b""


def _flags(context: SpanContext | None) -> bytes:
    return _REMOTE if context is not None and context.is_remote else _LOCAL


def _event(event: Event) -> bytes:
    body = _TIME.pack(b"\x09", event.timestamp) + wire.text(b"\x12", event.name)
    body += wire.attributes(b"\x1a", _plain(event.attributes))
    return wire.message(b"\x5a", body + _count(b"\x20", _dropped(event)))


def _link(link: Link) -> bytes:
    context = link.context
    body = b"\x0a\x10" + context.trace_id.to_bytes(16, "big")
    body += b"\x12\x08" + context.span_id.to_bytes(8, "big")
    body += wire.attributes(b"\x22", _plain(link.attributes)) + _count(b"\x28", _dropped(link))
    return wire.message(b"\x6a", body + (b"\x35" + _flags(context)[2:]))


def _dropped(part: Any) -> int:
    return int(part.dropped_attributes)


def _status(status: Status) -> bytes:
    code = status.status_code.value
    text = redact.text(status.description) if status.description else None
    body = _optional(b"\x12", text) + (bytes((0x18, code)) if code else b"")
    return wire.message(b"\x7a", body)
