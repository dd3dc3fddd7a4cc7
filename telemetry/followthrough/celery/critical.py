"""Critical tasks: which they are, and the alert that their bad end leaves for the agent."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import structlog

from .. import metrics

if TYPE_CHECKING:
    from pathlib import Path

    from ..alerts.alert import Alert
    from ..outcome import Outcome
    from ..settings import Settings


LOG_EVERY = 60.0

logger = structlog.get_logger("followthrough.celery")


class _Current:
    settings: Settings | None = None
    # Dropped since the last line about it, and when another is due (monotonic seconds).
    dropped: int = 0
    silent_until: float = float("-inf")


def use(settings: Settings) -> None:
    """Take the patterns and the state directory from `settings`."""
    _Current.settings = settings


def is_critical(name: str, task: Any) -> bool:
    """Whether the task says `critical=True`, or a pattern of the settings names it."""
    patterns = _Current.settings.critical_tasks if _Current.settings else ()
    return bool(getattr(task, "critical", False)) or any(fnmatchcase(name, p) for p in patterns)


def alert(outcome: Outcome, name: str, task_id: str, task: Any, trace_id: str) -> None:
    """Write one alert to the spool if the task is critical."""
    settings = _Current.settings
    if settings is None or not is_critical(name, task):
        return
    from .. import setup  # noqa: PLC0415
    from ..alerts.alert import new_alert  # noqa: PLC0415

    entry = new_alert(
        task=name,
        task_id=task_id,
        outcome=outcome.kind,
        error_type=outcome.error_type,
        message=outcome.message,
        trace_id=trace_id,
        service=setup.service(),
    )
    _keep(settings.state_dir, entry)


def _keep(state_dir: Path, alert: Alert) -> None:
    from ..alerts import spool  # noqa: PLC0415

    try:
        kept = spool.write(state_dir, alert)
    except OSError:
        metrics.count_dropped_alert("unwritable")
        # The guard logs it, once a minute.
        raise
    if not kept:
        metrics.count_dropped_alert("full")
        _tell_full(alert)


def _tell_full(alert: Alert) -> None:
    now = time.monotonic()
    _Current.dropped += 1
    if now < _Current.silent_until:
        return
    logger.error(
        "alert.dropped",
        reason="full",
        task=alert.task,
        task_id=alert.task_id,
        dropped=_Current.dropped,
    )
    _Current.dropped = 0
    _Current.silent_until = now + LOG_EVERY
