"""Sends each mail once: what the server took is noted, and not sent again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app import db, patience
from app.models import SentMail
from app.services import locks, mailer

if TYPE_CHECKING:
    from app.settings import Settings

logger = logging.getLogger(__name__)


def send_once(mail: mailer.Mail, task_id: str, settings: Settings) -> bool:
    """Send the mail unless one of its message id was sent; whether it was sent now.

    Raises what `mailer.send` raises; UnavailableError also without a database.
    """
    with ExitStack() as stack:
        with _answering():
            # Two deliveries of one message may run at the same time.
            stack.enter_context(locks.held(mail.message_id))
            if _was_sent(mail.message_id):
                return False
        mailer.send(mail, settings)
        _note(mail, task_id)
    return True


def forget(before: datetime) -> None:
    """Delete the notes of mails that were sent earlier."""
    with patience.endless(), db.session() as session:
        session.execute(delete(SentMail).where(SentMail.sent_at < before))


def _was_sent(message_id: str) -> bool:
    with db.session() as session:
        return session.get(SentMail, message_id) is not None


def _note(mail: mailer.Mail, task_id: str) -> None:
    note = {"message_id": mail.message_id, "task_id": task_id, "recipient": mail.recipient}
    try:
        with _answering(), db.session() as session:
            new = db.insert_new(session, SentMail)
            session.execute(new, {**note, "sent_at": datetime.now(UTC)})
    except mailer.UnavailableError:
        # The mail is out: to try again would send it twice for certain.
        logger.warning("the database did not answer: it is not noted that the mail was sent")


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeoutError) as error:
        raise mailer.UnavailableError("The database does not answer.") from error
