"""One outcome, told once: a log line, a count and, for a critical task, an alert.

It knows no Celery, so that the agent tells what dead processes can't in the same way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog

from . import logs, metrics, names
from .alerts import keep
from .logs.usual import Usual

if TYPE_CHECKING:
    from .outcome import Kind, Outcome, RequestOutcome

# Where a span says why, if its status does not call that an error.
REASONS: dict[Kind, str] = {
    "retry": names.CELERY_RETRY_REASON,
    "requeued": names.CELERY_REQUEUE_REASON,
}

_TASKS, _REQUESTS = "followthrough.celery", "followthrough.flask"
_TASK = Usual(_TASKS, (names.TASK, names.OUTCOME), names.TASK_ID)
_REQUEST = Usual(_REQUESTS, ("method", "route", "status", names.OUTCOME), names.REQUEST_ID)

logger = structlog.get_logger(_TASKS)


# Whether a line of a level is written at all; asked before the line is made.
logs_at = logging.getLogger(_TASKS).isEnabledFor


def task(
    outcome: Outcome,
    name: str,
    task_id: str,
    *,
    critical: bool = False,
    seconds: float | None = None,
    wait: float | None = None,
    exception: BaseException | None = None,
    label: str | None = None,
    service: str = "",
    trace_id: str = "",
    span_id: str = "",
    **fields: Any,
) -> None:
    """Write the log line, the metric (under `label`, else the task's name) and the alert.

    `seconds` is how long it ran, `wait` how long it waited for that, None where that isn't known;
    `service` is whose task it was, if not this program's; `trace_id` and `span_id` are its span's,
    in hex; `fields` go into the line.
    """
    # As `round` to microseconds does it, in a third of the time.
    duration = None if seconds is None else int(seconds * 1e6 + 0.5) / 1e6
    if (
        duration is None
        or fields
        or service
        or outcome.error_type
        or outcome.message
        or not _TASK.write(
            outcome.level,
            outcome.event,
            (name, outcome.kind),
            duration,
            task_id,
            trace_id,
            span_id,
            wait,
        )
    ):
        about = _ids(trace_id, span_id) | fields | _error(outcome)
        if outcome.kind == "failure" and exception is not None:
            about["exc_info"] = exception
        if service:
            about["service"] = service
        if wait is not None:
            about["wait"] = wait
        logs.line(
            _TASKS,
            outcome.level,
            outcome.event,
            task=name,
            outcome=outcome.kind,
            duration=duration,
            task_id=task_id,
            **about,
        )
    metrics.observe_task(label or name, outcome, seconds)
    if critical and outcome.alertable:
        keep.alert(
            task=name,
            task_id=task_id,
            outcome=outcome.kind,
            error_type=outcome.error_type,
            message=outcome.message,
            trace_id=trace_id,
            service=service,
        )


def request(
    outcome: RequestOutcome,
    method: str,
    route: str,
    request_id: str,
    seconds: float,
    trace_id: str = "",
    span_id: str = "",
    **fields: Any,
) -> None:
    """Write the log line and the metric of a request.

    `route` is empty where none matched; `trace_id` and `span_id` are its span's, in hex; `fields`
    go into the line.
    """
    duration, status = int(seconds * 1e6 + 0.5) / 1e6, outcome.status or None
    if (
        fields
        or outcome.error_type
        or outcome.message
        or not _REQUEST.write(
            outcome.level,
            names.REQUEST_FINISHED,
            (method, route, status, outcome.kind),
            duration,
            request_id,
            trace_id,
            span_id,
        )
    ):
        logs.line(
            _REQUESTS,
            outcome.level,
            names.REQUEST_FINISHED,
            method=method,
            route=route,
            status=status,
            outcome=outcome.kind,
            duration=duration,
            request_id=request_id,
            **_ids(trace_id, span_id),
            **fields,
            **_error(outcome),
        )
    metrics.observe_request(method, route, outcome, seconds)


def _ids(trace_id: str, span_id: str) -> dict[str, Any]:
    found = {names.TRACE_ID: trace_id, names.SPAN_ID: span_id}
    return {key: value for key, value in found.items() if value}


def _error(outcome: Outcome | RequestOutcome) -> dict[str, Any]:
    found = {names.ERROR_TYPE_FIELD: outcome.error_type, names.ERROR: outcome.message}
    return {key: value for key, value in found.items() if value}
