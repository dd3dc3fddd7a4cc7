"""The trace that a message's headers name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import context, propagate, trace

from ..tracing import ids


def trace_context(headers: Mapping[str, Any]) -> context.Context:
    """The OpenTelemetry context of a message; the current one where it names none."""
    texts = {key: value for key, value in headers.items() if isinstance(value, str)}
    return propagate.extract(texts)


def trace_ids(headers: Mapping[str, Any]) -> dict[str, str]:
    """The trace id as a log field; nothing where the headers name none."""
    found = ids.of(trace.get_current_span(trace_context(headers)))
    found.pop("span_id", None)
    return found
