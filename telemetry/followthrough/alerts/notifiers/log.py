"""The notifier that writes an alert as one error line of the agent's log."""

from __future__ import annotations

import structlog

from ...settings import Settings
from ..alert import Alert


class LogNotifier:
    """Needs nothing, so it is the default."""

    name = "log"

    def notify(self, alert: Alert) -> None:
        structlog.get_logger("followthrough.alerts").error(
            "alert",
            alert_id=alert.id,
            fingerprint=alert.fingerprint,
            task=alert.task,
            task_id=alert.task_id,
            outcome=alert.outcome,
            error_type=alert.error_type,
            error=alert.message,
            trace_id=alert.trace_id,
            failed_service=alert.service,
            failed_at=alert.timestamp,
        )


def build(_settings: Settings) -> LogNotifier:
    """The notifier as the entry point gives it."""
    return LogNotifier()
