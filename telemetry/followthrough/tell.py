"""One outcome, told once: a log line, a count and, for a critical task, an alert.

It knows no Celery, so that the agent tells what dead processes can't in the same way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog

from . import logs, metrics, names
from .alerts import keep

if TYPE_CHECKING:
    from .outcome import Kind, Outcome, RequestOutcome

# Where a span says why, if its status does not call that an error.
REASONS: dict[Kind, str] = {
    "retry": names.CELERY_RETRY_REASON,
    "requeued": names.CELERY_REQUEUE_REASON,
}

logger = structlog.get_logger("followthrough.celery")
_gate = logging.getLogger("followthrough.celery")


def logs_at(level: int) -> bool:
    """Whether a line of this level is written at all; asked before the line is made."""
    return _gate.isEnabledFor(level)


def task(
    outcome: Outcome,
    *,
    name: str,
    task_id: str,
    critical: bool = False,
    seconds: float | None = None,
    wait: float | None = None,
    exception: BaseException | None = None,
    label: str | None = None,
    service: str = "",
    **fields: Any,
) -> None:
    """Write the log line, the metric (under `label`, else the task's name) and the alert.

    `seconds` is how long it ran, `wait` how long it waited for that, None where that isn't known;
    `service` is whose task it was, if not this program's; `fields` go into the line, and its
    `trace_id` into the alert.
    """
    if outcome.error_type:
        fields["error_type"] = outcome.error_type
    if outcome.message:
        fields["error"] = outcome.message
    if outcome.kind == "failure" and exception is not None:
        fields["exc_info"] = exception
    if service:
        fields["service"] = service
    if wait is not None:
        fields["wait"] = wait
    logs.line(
        "followthrough.celery",
        outcome.level,
        outcome.event,
        task=name,
        task_id=task_id,
        outcome=outcome.kind,
        duration=None if seconds is None else round(seconds, 6),
        **fields,
    )
    metrics.observe_task(label or name, outcome, seconds)
    if critical and outcome.alertable:
        keep.alert(
            task=name,
            task_id=task_id,
            outcome=outcome.kind,
            error_type=outcome.error_type,
            message=outcome.message,
            trace_id=fields.get("trace_id", ""),
            service=service,
        )


def request(
    outcome: RequestOutcome,
    *,
    method: str,
    route: str,
    request_id: str,
    seconds: float,
    **fields: Any,
) -> None:
    """Write the log line and the metric of a request; `fields` go into the line.

    `route` is empty where none matched.
    """
    if outcome.error_type:
        fields["error_type"] = outcome.error_type
    if outcome.message:
        fields["error"] = outcome.message
    logs.line(
        "followthrough.flask",
        outcome.level,
        names.REQUEST_FINISHED,
        method=method,
        route=route,
        status=outcome.status or None,
        outcome=outcome.kind,
        duration=round(seconds, 6),
        request_id=request_id,
        **fields,
    )
    metrics.observe_request(method, route, outcome, seconds)
