"""The service's Celery app, whose beat sends two of its entries several times a second."""

from __future__ import annotations

from app.worker import celery

OFTEN = 0.3  # seconds
ENTRIES = ("cleanup-expired-sessions", "generate-daily-report")

celery.conf.beat_schedule = {
    name: {**celery.conf.beat_schedule[name], "schedule": OFTEN} for name in ENTRIES
}
