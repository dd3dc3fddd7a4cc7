"""What beat has done so that the service stays small."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="tasks.forget_expired", ignore_result=True)
def forget_expired() -> int:
    """Delete the ids whose results are gone; gives their number."""
    from app import registry  # noqa: PLC0415  only the pool process that runs it loads SQLAlchemy

    return registry.forget_expired()
