"""The trace that a message's headers name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import context, propagate, trace


def trace_context(headers: Mapping[str, Any]) -> context.Context:
    """The OpenTelemetry context of a message; the current one where it names none."""
    texts = {key: value for key, value in headers.items() if isinstance(value, str)}
    return propagate.extract(texts)


def trace_ids(headers: Mapping[str, Any]) -> dict[str, str]:
    """The trace id as a log field; nothing where the headers name none."""
    found = trace.get_current_span(trace_context(headers)).get_span_context()
    return {"trace_id": trace.format_trace_id(found.trace_id)} if found.is_valid else {}
