"""Tasks that never ran: a span without length that says so, and the same in line, count, alert."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from .. import names, tell, tracing
from ..outcome import Outcome
from ..tracing import ids
from .carrier import trace_context

_tracer = tracing.get_tracer("followthrough.celery", schema_url=names.SCHEMA_URL)


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
    span = _tracer.start_span(
        f"process {name}",
        trace_context(headers),
        SpanKind.CONSUMER,
        attributes(name, task_id, headers, queue, system),
        start_time=now,
    )
    span.set_attribute(names.CELERY_OUTCOME, outcome.kind)
    if outcome.error_type:
        span.set_attribute(names.ERROR_TYPE, outcome.error_type)
    if outcome.is_error:
        span.set_status(Status(StatusCode.ERROR, outcome.message or None))
    span.end(now)
    return span


def attributes(
    name: str, task_id: str, headers: Mapping[str, Any], queue: str, system: str
) -> dict[str, Any]:
    """What is known of a task by its message alone."""
    said = {
        names.MESSAGING_OPERATION_NAME: "process",
        names.MESSAGING_OPERATION_TYPE: "process",
        names.MESSAGING_SYSTEM: system,
        names.MESSAGING_DESTINATION: queue,
        names.MESSAGING_MESSAGE_ID: task_id,
        names.CELERY_TASK: name,
        names.CELERY_RETRIES: headers.get("retries"),
        names.CELERY_ROOT_ID: _other(headers.get("root_id"), task_id),
        names.CELERY_PARENT_ID: headers.get("parent_id"),
        names.CELERY_GROUP_ID: headers.get("group"),
        names.CELERY_ETA: headers.get("eta"),
        names.CELERY_EXPIRES: headers.get("expires"),
        names.CELERY_ORIGIN: headers.get("origin"),
    }
    return {key: value for key, value in said.items() if value and isinstance(value, str | int)}


def _other(root: Any, task_id: str) -> Any:
    return root if root != task_id else None
