"""A span as OTLP (opentelemetry-proto, trace/v1/trace.proto), straight to bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from . import wire

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, Status, TraceState

_TIMES = struct.Struct("<cQcQ")
_TIME = struct.Struct("<cQ")
# SpanFlags: whether the parent is remote is known, and whether it is.
_LOCAL = b"\x85\x01\x00\x01\x00\x00"
_REMOTE = b"\x85\x01\x00\x03\x00\x00"


def span(of: ReadableSpan) -> bytes:
    """A Span message; one that has not ended yet says so by an end at 0."""
    context, parent = of.get_span_context(), of.parent
    if context is None:
        raise ValueError("a span without a context")
    parts = [
        b"\x0a\x10",
        context.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        context.span_id.to_bytes(8, "big"),
        _state(b"\x1a", context.trace_state),
        b"" if parent is None else b"\x22\x08" + parent.span_id.to_bytes(8, "big"),
        wire.text(b"\x2a", of.name),
        b"\x30",
        wire.varint(of.kind.value + 1),
        _TIMES.pack(b"\x39", of.start_time or 0, b"\x41", of.end_time or 0),
        wire.attributes(b"\x4a", of.attributes or {}),
        _count(b"\x50", of.dropped_attributes),
        *(_event(each) for each in of.events),
        _count(b"\x60", of.dropped_events),
        *(_link(each) for each in of.links),
        _count(b"\x70", of.dropped_links),
        _status(of.status),
        _flags(parent),
    ]
    return b"".join(parts)


def ended(body: bytes, end: int, error_type: str, message: str) -> bytes:
    """A Span message that was written as its span began, ended with an error.

    Of a field that is written twice the last one holds, and what is repeated is added.
    """
    attributes = wire.attributes(b"\x4a", {"error.type": error_type})
    status = wire.message(b"\x7a", _optional(b"\x12", message) + b"\x18\x02")
    return body + _TIME.pack(b"\x41", end) + attributes + status


def resource(of: Resource) -> bytes:
    """The fields of a ResourceSpans that say where its spans come from."""
    body = wire.attributes(b"\x0a", of.attributes)
    return wire.message(b"\x0a", body) + _optional(b"\x1a", of.schema_url)


def scope(of: InstrumentationScope | None) -> bytes:
    """The fields of a ScopeSpans that say which instrumentation made its spans."""
    if of is None:
        return b"\x0a\x00"
    body = _optional(b"\x0a", of.name) + _optional(b"\x12", of.version)
    body += wire.attributes(b"\x1a", of.attributes or {})
    return wire.message(b"\x0a", body) + _optional(b"\x1a", of.schema_url)


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
    body += wire.attributes(b"\x1a", event.attributes or {})
    return wire.message(b"\x5a", body + _count(b"\x20", _dropped(event)))


def _link(link: Link) -> bytes:
    context = link.context
    body = b"\x0a\x10" + context.trace_id.to_bytes(16, "big")
    body += b"\x12\x08" + context.span_id.to_bytes(8, "big")
    body += wire.attributes(b"\x22", link.attributes or {}) + _count(b"\x28", _dropped(link))
    return wire.message(b"\x6a", body + (b"\x35" + _flags(context)[2:]))


def _dropped(part: Any) -> int:
    return int(part.dropped_attributes)


def _status(status: Status) -> bytes:
    code = status.status_code.value
    body = _optional(b"\x12", status.description) + (bytes((0x18, code)) if code else b"")
    return wire.message(b"\x7a", body)
