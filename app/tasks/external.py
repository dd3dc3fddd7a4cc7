"""Calls to other services."""

from __future__ import annotations

import random
from typing import Any

from celery import Task, shared_task
from flask import current_app

from app.services import external
from app.services.http_client import UnavailableError


@shared_task(
    name="tasks.call_external_api",
    bind=True,
    autoretry_for=(UnavailableError,),
    # 2, 4, 8, 16, 32 seconds, each shortened by chance.
    retry_backoff=2,
    retry_backoff_max=external.LONGEST_PAUSE,
    retry_jitter=True,
    max_retries=5,
    soft_time_limit=40,
    time_limit=50,
)
def call_external_api(self: Task, endpoint: str, payload: Any) -> Any:
    """Post `payload` to `endpoint`; gives the JSON of the answer."""
    settings = current_app.extensions["settings"]
    request = self.request
    try:
        return external.post(endpoint, payload, request.id, settings, request.retries)
    except UnavailableError as error:
        if error.retry_after is None:
            raise
        wait = external.pause(random.random(), error.retry_after)  # noqa: S311  no secret
        raise self.retry(exc=error, countdown=wait) from None
