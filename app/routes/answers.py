"""Answers that several routes give."""

from __future__ import annotations

from flask import Response, jsonify, url_for
from opentelemetry import trace


def accepted(message: str, task_id: str) -> Response:
    """The answer to a job that was taken: where to ask for it, and the trace that follows it."""
    status_url = url_for("tasks.status", task_id=task_id)
    context = trace.get_current_span().get_span_context()
    response = jsonify(
        message=message,
        task_id=task_id,
        trace_id=trace.format_trace_id(context.trace_id) if context.is_valid else None,
        status_url=status_url,
    )
    response.status_code = 202
    response.location = status_url
    return response
