"""Tells what a dead process had under way, as the process itself would have: line, count, alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import names
from .. import tell as telling
from ..outcome import TELLING, Outcome, lost_request
from ..recorder import record

if TYPE_CHECKING:
    from ..recorder.inflight import Cause

MESSAGE = "The process ended before the span did."


def outcome(cause: Cause | None) -> Outcome:
    """How what was under way has ended, by what was noted of its process's end."""
    if cause is None:
        return Outcome("lost", TELLING["lost"].error_type, MESSAGE)
    return Outcome(cause.outcome, cause.error_type, cause.message)


def tell(begun: bytes, end: Outcome, at: int) -> None:
    """Tell the end of a task or a request at a time (ns); other spans are their spans alone."""
    _, body = record.body(begun)
    # Only a process that was killed costs the memory of protocol buffers.
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span  # noqa: PLC0415

    span = Span.FromString(body)
    about = _values(span.attributes)
    origin = ResourceSpans.FromString(record.origin(begun)[0]).resource
    fields = {
        "seconds": max(0.0, (at - span.start_time_unix_nano) / 1e9),
        "service": _values(origin.attributes).get("service.name", ""),
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
    }
    if names.CELERY_TASK in about and names.MESSAGING_MESSAGE_ID in about:
        if span.kind == Span.SPAN_KIND_CONSUMER:
            _task(end, about, fields)
    elif names.HTTP_METHOD in about and span.kind == Span.SPAN_KIND_SERVER:
        _request(end, about, fields)


def _task(end: Outcome, about: dict[str, Any], fields: dict[str, Any]) -> None:
    queue = about.get(names.MESSAGING_DESTINATION)
    telling.task(
        end,
        name=str(about[names.CELERY_TASK]),
        task_id=str(about[names.MESSAGING_MESSAGE_ID]),
        critical=about.get(names.CELERY_CRITICAL) is True,
        attempt=int(about.get(names.CELERY_RETRIES, 0)) + 1,
        **({"queue": queue} if queue else {}),
        **fields,
    )


def _request(end: Outcome, about: dict[str, Any], fields: dict[str, Any]) -> None:
    telling.request(
        lost_request(end.error_type, end.message),
        method=str(about[names.HTTP_METHOD]),
        route=str(about.get(names.HTTP_ROUTE, "")),
        request_id=str(about.get(names.HTTP_REQUEST_ID, "")),
        **fields,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
