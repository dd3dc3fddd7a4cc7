"""Requests to the running stack, and what Jaeger then has."""

from __future__ import annotations

import secrets
import time
from email import message_from_bytes
from email.message import Message
from typing import Any

from tests.stack import programs
from tests.stack.native import Stack
from tests.support import wait_for

END_STATES = ("SUCCESS", "FAILURE", "REVOKED")


def send_email(stack: Stack, recipient: str = "ada@example.com") -> dict[str, Any]:
    """Ask the API for one mail; its answer."""
    body = {"recipient": recipient, "subject": "One trace", "body": "Text."}
    return programs.post(stack.url("web", 5000, "/api/send-email"), body)


def ended(stack: Stack, task_id: str) -> dict[str, Any]:
    """The status of a task once it has ended."""
    url = stack.url("web", 5000, f"/api/task-status/{task_id}")

    def status() -> dict[str, Any] | None:
        answer = programs.get(url)
        return answer if answer["state"] in END_STATES else None

    return wait_for(status, f"task {task_id} ends", 30)


def mails(stack: Stack) -> list[Message]:
    return [message_from_bytes(p.read_bytes()) for p in stack.state().glob("mail/new/*")]


def spans(stack: Stack, trace_id: str) -> list[dict[str, Any]]:
    """The spans that Jaeger has of a trace, each with its service and its tags as a dict."""
    data = programs.get(stack.url("jaeger", 16686, f"/api/traces/{trace_id}"))["data"]
    return [
        {
            **span,
            "service": trace["processes"][span["processID"]]["serviceName"],
            "tags": {tag["key"]: tag["value"] for tag in span["tags"]},
        }
        for trace in data
        for span in trace["spans"]
    ]


def all_spans(stack: Stack, trace_id: str, count: int) -> list[dict[str, Any]]:
    """The spans of a trace once Jaeger has `count` of them."""

    def arrived() -> list[dict[str, Any]] | None:
        found = spans(stack, trace_id)
        return found if len(found) >= count else None

    return wait_for(arrived, f"{count} spans of {trace_id}", 30)


def parent(span: dict[str, Any]) -> str | None:
    return next((r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"), None)


def otlp(*, trace_id: str, error: bool = False, seconds: float = 0.01) -> dict[str, Any]:
    """An OTLP request in JSON with one span that has just ended."""
    end = time.time_ns()
    span = {
        "traceId": trace_id,
        "spanId": secrets.token_hex(8),
        "name": "by hand",
        "kind": 2,
        "startTimeUnixNano": str(end - int(seconds * 1e9)),
        "endTimeUnixNano": str(end),
        "status": {"code": 2 if error else 0},
    }
    service = {"key": "service.name", "value": {"stringValue": "by-hand"}}
    return {
        "resourceSpans": [
            {"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [span]}]}
        ]
    }
