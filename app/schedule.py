"""What beat sends, and when; crontabs mean the time zone of TIMEZONE."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery.schedules import crontab

from app.services.periods import DIGEST_HOUR

HEADER = "scheduled_at"  # of a message that beat sends

MINUTE = 60.0
HOUR = 60 * MINUTE
WEEK = 7 * 24 * HOUR

# What one of these does, the next would do as well: a backlog of them is of no use, so each expires
# when the next is due. A report is of its own day or month, and no later one tells the same: it
# waits for a worker as long as it takes.
SCHEDULE: dict[str, dict[str, Any]] = {
    "cleanup-expired-sessions": {
        "task": "tasks.cleanup_expired_sessions",
        "schedule": MINUTE,
        "options": {"expires": MINUTE},
    },
    "sync-external-data": {
        "task": "tasks.sync_external_data",
        "schedule": crontab(minute=0),
        "options": {"expires": HOUR},
    },
    "generate-daily-report": {
        "task": "tasks.generate_daily_report",
        "schedule": crontab(hour=0, minute=0),
        "kwargs": {"report_type": "daily_summary"},
    },
    "send-weekly-digest": {
        "task": "tasks.send_weekly_digest",
        "schedule": crontab(hour=DIGEST_HOUR, minute=0, day_of_week="monday"),
        # Nobody wants two digests on one day.
        "options": {"expires": WEEK},
    },
    "generate-monthly-report": {
        "task": "tasks.generate_monthly_report",
        "schedule": crontab(hour=0, minute=0, day_of_month=1),
    },
    "forget-expired-tasks": {
        "task": "tasks.forget_expired",
        "schedule": HOUR,
        "options": {"expires": HOUR},
    },
}


def scheduled_at(task: Any) -> datetime:
    """When beat sent the tick that this task runs for; for any other message, now."""
    told = (task.request.headers or {}).get(HEADER)
    return datetime.fromisoformat(told) if told else datetime.now(UTC)
