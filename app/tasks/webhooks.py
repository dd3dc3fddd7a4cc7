"""Webhooks."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from celery import Task, shared_task
from flask import current_app

from app.services import deliveries, webhooks
from app.services.failures import JobFailedError
from app.services.http_client import RefusedError, UnavailableError


@shared_task(
    name="tasks.send_webhook",
    bind=True,
    max_retries=3,
    soft_time_limit=30,
    time_limit=40,
)
def send_webhook(
    self: Task, url: str, event_data: dict[str, Any], event: str | None = None
) -> dict[str, Any]:
    """Deliver one message; a task that runs twice sends it once."""
    webhook = webhooks.Webhook(self.request.id, url, event_data, event)
    try:
        code = _deliver(webhook, self.request.retries)
    except UnavailableError as error:
        raise _after(self, webhook, error) from None
    except RefusedError as error:
        _note(webhook, deliveries.FAILED, error.status)
        raise JobFailedError(str(error)) from None
    return {"status": "delivered", "status_code": code}


def _deliver(webhook: webhooks.Webhook, attempt: int) -> int | None:
    delivery = deliveries.begin(webhook)
    if delivery.delivered:
        return delivery.status_code
    settings = current_app.extensions["settings"]
    code = webhooks.post(webhook, delivery.created, settings, attempt)
    deliveries.end(webhook, deliveries.DELIVERED, code)
    return code


def _after(task: Task, webhook: webhooks.Webhook, error: UnavailableError) -> Exception:
    """What to raise after a try that failed: a retry, or the end."""
    retries = task.request.retries
    if retries >= task.max_retries:
        _note(webhook, deliveries.FAILED, error.status)
        return JobFailedError(str(error), retryable=True, retries_exhausted=True)
    _note(webhook, deliveries.PENDING, error.status)
    return task.retry(exc=error, countdown=webhooks.pause(retries, error.retry_after), throw=False)


def _note(webhook: webhooks.Webhook, state: str, status: int | None) -> None:
    # The task's own end tells the same, so a database that is away must not change it.
    with suppress(UnavailableError):
        deliveries.end(webhook, state, status)
