"""A span's ids as log fields."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace


def of(span: trace.Span) -> dict[str, Any]:
    """trace_id and span_id in hex; nothing where the span is none."""
    trace_id, span_id = in_hex(span)
    return {"trace_id": trace_id, "span_id": span_id} if trace_id else {}


def in_hex(span: trace.Span) -> tuple[str, str]:
    """The same as two texts; empty ones where the span is none."""
    # By their places: each property of a context is a call.
    of = span.get_span_context()
    return (f"{of[0]:032x}", f"{of[1]:016x}") if of[5] else ("", "")


def current() -> dict[str, str]:
    """The ids of the current span."""
    return of(trace.get_current_span())
