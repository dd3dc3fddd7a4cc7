"""Mail."""

from __future__ import annotations

from typing import Any

from celery import Task, shared_task
from flask import current_app

from app.services import mailer


@shared_task(
    name="tasks.send_email",
    bind=True,
    autoretry_for=(mailer.UnavailableError,),
    # 2, 4, 8 ... 256 seconds, each shortened by chance: at most eight and a half minutes in all.
    retry_backoff=2,
    retry_backoff_max=256,
    max_retries=8,
)
def send_email(self: Task, recipient: str, subject: str, body: str) -> dict[str, Any]:
    """Send one mail; a permanent refusal fails the task, a temporary one is tried again."""
    mail = mailer.Mail(recipient, subject, body, message_id=self.request.id)
    mailer.send(mail, current_app.extensions["settings"])
    return {"status": "sent", "recipient": recipient, "subject": subject}
