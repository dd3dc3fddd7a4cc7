"""A span's ids as log fields."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace


def of(span: trace.Span) -> dict[str, Any]:
    """trace_id and span_id in hex; nothing where the span is none."""
    # By their places: each property of a context is a call.
    trace_id, span_id, *_, is_valid = span.get_span_context()
    if not is_valid:
        return {}
    return {"trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"}


def current() -> dict[str, str]:
    """The ids of the current span."""
    return of(trace.get_current_span())
