"""Sending mail."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request, url_for
from opentelemetry import trace

from app import registry
from app.tasks.email import send_email

blueprint = Blueprint("email", __name__)


@blueprint.post("/send-email")
def queue_email() -> Response:
    """Queue one mail."""
    mail = request.get_json()
    result = registry.publish(
        send_email.s(recipient=mail["recipient"], subject=mail["subject"], body=mail["body"])
    )
    return accepted("Email queued for delivery", result.id)


def accepted(message: str, task_id: str) -> Response:
    """The answer to a job that was taken: where to ask for it, and the trace that follows it."""
    status_url = url_for("tasks.status", task_id=task_id)
    trace_id = trace.get_current_span().get_span_context().trace_id
    response = jsonify(
        message=message,
        task_id=task_id,
        trace_id=trace.format_trace_id(trace_id),
        status_url=status_url,
    )
    response.status_code = 202
    response.location = status_url
    return response
