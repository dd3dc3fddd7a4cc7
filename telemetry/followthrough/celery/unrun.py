"""Tasks that never ran: a span without length that says so, and the same in line, count, alert."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from .. import names, redact, tell
from ..outcome import Outcome
from ..tracing import ids
from . import attributes, carrier
from .current import current


def told(
    outcome: Outcome,
    *,
    name: str,
    task_id: str,
    headers: Mapping[str, Any],
    queue: str = "",
    system: str = "",
    **fields: Any,
) -> dict[str, str]:
    """Tell the end of a task that no process has run, in its sender's trace.

    `headers` are its message's; `fields` go to `tell.task`. Gives the ids of the span.
    """
    found = ids.of(_span(outcome, name, task_id, headers, queue, system))
    if queue:
        fields[names.QUEUE] = queue
    tell.task(outcome, name=name, task_id=task_id, **{**fields, **found})
    return found


def _span(
    outcome: Outcome, name: str, task_id: str, headers: Mapping[str, Any], queue: str, system: str
) -> trace.Span:
    now = time.time_ns()
    known = {
        names.CELERY_TASK: name,
        names.MESSAGING_OPERATION_NAME: "process",
        names.MESSAGING_OPERATION_TYPE: "process",
        names.MESSAGING_SYSTEM: system,
        names.MESSAGING_DESTINATION: queue,
        names.CELERY_OUTCOME: outcome.kind,
        names.ERROR_TYPE: outcome.error_type,
    }
    span = current.tracer.start_span(
        f"process {name}",
        carrier.trace_context(headers),
        SpanKind.CONSUMER,
        {**attributes.of_message(headers, task_id), **{k: v for k, v in known.items() if v}},
        start_time=now,
    )
    if outcome.is_error:
        span.set_status(Status(StatusCode.ERROR, redact.text(outcome.message) or None))
    span.end(now)
    return span
