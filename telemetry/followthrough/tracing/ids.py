"""A span's ids as log fields."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace


def of(span: trace.Span) -> dict[str, Any]:
    """trace_id and span_id in hex; nothing where the span is none."""
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def current() -> dict[str, str]:
    """The ids of the current span."""
    return of(trace.get_current_span())
