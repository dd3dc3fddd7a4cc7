"""What beat has done so that the service stays small."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import shared_task
from flask import current_app


@shared_task(name="tasks.forget_expired", ignore_result=True)
def forget_expired() -> int:
    """Delete the ids whose results are gone, and what else has had its time; gives their number."""
    # Only the pool process that runs it loads SQLAlchemy.
    from app import registry  # noqa: PLC0415
    from app.services import retention  # noqa: PLC0415

    before = datetime.now(UTC) - registry.grace()
    retention.forget(current_app.extensions["settings"], before)
    return registry.forget_expired()
