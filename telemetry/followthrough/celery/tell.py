"""One outcome, told once: a log line, a count and, for a critical task, an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from .. import metrics
from . import critical

if TYPE_CHECKING:
    from ..outcome import Outcome

logger = structlog.get_logger("followthrough.celery")


def tell(
    outcome: Outcome,
    *,
    name: str,
    task_id: str,
    task: Any = None,
    seconds: float | None = None,
    exception: BaseException | None = None,
    label: str | None = None,
    **fields: Any,
) -> None:
    """Write the log line, the metric (under `label`, else the task's name) and the alert."""
    if outcome.error_type:
        fields["error_type"] = outcome.error_type
    if outcome.message:
        fields["error"] = outcome.message
    if outcome.kind == "failure" and exception is not None:
        fields["exc_info"] = exception
    getattr(logger, outcome.level)(
        outcome.event,
        task=name,
        task_id=task_id,
        outcome=outcome.kind,
        duration=None if seconds is None else round(seconds, 6),
        **fields,
    )
    metrics.observe_task(label or name, outcome, seconds)
    if outcome.alertable:
        critical.alert(outcome, name, task_id, task, fields.get("trace_id", ""))
