"""Mail, to one and to many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Signature, Task, shared_task
from flask import current_app

from app.services import mailer
from app.services.attachments import UnfitError
from app.services.failures import JobFailedError, again

if TYPE_CHECKING:
    from app.services.bulkmail import Mailing

RETRY_DELAY = 10  # seconds until a database that did not answer is asked again


@shared_task(
    name="tasks.send_email",
    bind=True,
    autoretry_for=(mailer.UnavailableError,),
    # 2, 4, 8 ... 256 seconds, each shortened by chance: at most eight and a half minutes in all.
    retry_backoff=2,
    retry_backoff_max=256,
    max_retries=8,
)
def send_email(
    self: Task,
    recipient: str,
    subject: str,
    body: str,
    html: str | None = None,
    attachments: list[str] | None = None,
    message_id: str | None = None,
) -> dict[str, Any]:
    """Send one mail; a permanent refusal fails the task, a temporary one is tried again.

    A mail whose message id (by default the task's) was sent already is not sent again.
    """
    from app.services import outbox  # noqa: PLC0415  the pool process alone loads SQLAlchemy

    mail_id = message_id or self.request.id
    mail = mailer.Mail(recipient, subject, body, mail_id, html, tuple(attachments or ()))
    try:
        outbox.send_once(mail, self.request.id, current_app.extensions["settings"])
    except UnfitError as error:
        raise JobFailedError(str(error)) from None
    return {"status": "success", "recipient": recipient, "subject": subject}


# Without a trail: Celery would keep each child in memory, and all of them with the result.
@shared_task(name="tasks.send_bulk_emails", bind=True, max_retries=5, trail=False)
def send_bulk_emails(
    self: Task,
    recipients: list[str] | None = None,
    subject: str = "No Subject",
    body: str = "",
    segment: str | None = None,
    html: str | None = None,
) -> dict[str, Any]:
    """Queue one mail for each recipient; run again, it goes on after the last batch it noted.

    Without recipients and segment the mail goes to those that are kept under the task's id.
    """
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    from app.services import bulkmail  # noqa: PLC0415

    mail = {"subject": subject, "body": body, **({"html": html} if html is not None else {})}
    try:
        return _queue_all(self, bulkmail.begun(self.request.id, recipients, segment), mail)
    except bulkmail.UnusableError as error:
        raise JobFailedError(str(error)) from None
    except OperationalError as error:
        raise again(self, "The database does not answer.", RETRY_DELAY) from error


def _queue_all(task: Task, mailing: Mailing, mail: dict[str, str]) -> dict[str, Any]:
    from app import registry  # noqa: PLC0415
    from app.services import bulkmail  # noqa: PLC0415

    while not mailing.is_done:
        # Killed before the note, the same mails are queued again, and each is sent once.
        batch = [_child(mailing.id, each, mail) for each in bulkmail.batch(mailing)]
        registry.publish_all(batch, mailing.id)
        mailing = bulkmail.noted(mailing)
        task.update_state(state="PROGRESS", meta=progress_of(mailing.position, mailing.total))
    return bulkmail.summary(mailing)


def _child(bulk_id: str, address: str, mail: dict[str, str]) -> Signature:
    from app.services import bulkmail  # noqa: PLC0415

    return send_email.s(address, **mail).set(task_id=bulkmail.child_id(bulk_id, address))


def progress_of(current: int, total: int) -> dict[str, int]:
    """How far a mail to many is, as its callers read it."""
    return {"current": current, "total": total, "percent": 100 * current // max(total, 1)}
