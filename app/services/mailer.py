"""Sends mail over SMTP and says whether a refusal is for good."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import localtime, parseaddr
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from opentelemetry import trace

from app.services import attachments
from followthrough.tracing import get_tracer

if TYPE_CHECKING:
    from app.settings import Settings

TIMEOUT = 10.0  # seconds for each answer of the mail server
PERMANENT = 500  # SMTP replies from here on will not change

_tracer = get_tracer("app.services.mailer")


class RefusedError(Exception):
    """The mail server refused this mail for good."""


class UnavailableError(Exception):
    """The mail server can't be reached or asks to try again."""


@dataclass(frozen=True)
class Mail:
    """One mail; `message_id` stays the same when it is sent again.

    Attachments are paths inside the folder of the service's files.
    """

    recipient: str
    subject: str
    body: str
    message_id: str
    html: str | None = None
    attachments: tuple[str, ...] = ()


def send(mail: Mail, settings: Settings) -> None:
    """Hand `mail` to the server of SMTP_URL.

    Raises RefusedError, UnavailableError, or attachments.UnfitError if one is gone by now.
    """
    server = urlsplit(settings.smtp_url)
    message = _message(mail, settings.mail_from)
    for path in attachments.find(settings.files_dir, mail.attachments):
        _attach(message, path)
    with _span(server), told_apart(), _connection(server) as smtp:
        smtp.send_message(message)


def _message(mail: Mail, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = localtime()
    domain = parseaddr(sender)[1].rpartition("@")[2]
    message["Message-ID"] = f"<{mail.message_id}@{domain}>"
    _write(message, mail.body, mail.html)
    return message


def _write(message: EmailMessage, body: str, html: str | None) -> None:
    if html is None:
        message.set_content(body)
    elif not body.strip():
        # Who prefers text would see an empty mail.
        message.set_content(html, subtype="html")
    else:
        message.set_content(body)
        message.add_alternative(html, subtype="html")


def _attach(message: EmailMessage, path: Path) -> None:
    main, sub = attachments.content_type(path.name)
    message.add_attachment(path.read_bytes(), maintype=main, subtype=sub, filename=path.name)


@contextmanager
def _span(server: SplitResult) -> Iterator[None]:
    attributes: dict[str, str | int] = {
        "server.address": server.hostname or "localhost",
        "server.port": _port(server),
        "network.protocol.name": "smtp",
    }
    with _tracer.start_as_current_span(
        "SMTP send", kind=trace.SpanKind.CLIENT, attributes=attributes
    ):
        yield


def _port(server: SplitResult) -> int:
    return server.port or (465 if server.scheme == "smtps" else 25)


@contextmanager
def _connection(server: SplitResult) -> Iterator[smtplib.SMTP]:
    smtp = _open(server)
    try:
        if server.username:
            smtp.login(unquote(server.username), unquote(server.password or ""))
        yield smtp
        _say_goodbye(smtp)
    finally:
        smtp.close()


def _open(server: SplitResult) -> smtplib.SMTP:
    host = server.hostname or "localhost"
    if server.scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, _port(server), timeout=TIMEOUT, context=context)
    smtp = smtplib.SMTP(host, _port(server), timeout=TIMEOUT)
    smtp.ehlo_or_helo_if_needed()
    if smtp.has_extn("starttls"):
        smtp.starttls(context=ssl.create_default_context())
    return smtp


def _say_goodbye(smtp: smtplib.SMTP) -> None:
    # The mail is taken by now: a server that hangs up early has not refused it.
    try:
        smtp.quit()
    except (OSError, smtplib.SMTPException):
        return


@contextmanager
def told_apart() -> Iterator[None]:
    """Turn what smtplib raises into RefusedError or UnavailableError."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        code, reply = next(iter(error.recipients.values()))
        # The reply says it all; smtplib's own traceback would only double the log's lines.
        raise _by_code(code, reply) from None
    except smtplib.SMTPResponseException as error:
        raise _by_code(error.smtp_code, error.smtp_error) from None
    except smtplib.SMTPNotSupportedError as error:
        raise RefusedError(str(error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise UnavailableError(f"{type(error).__name__}: {error}") from error


def _by_code(code: int, reply: bytes | str) -> Exception:
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    kind = RefusedError if code >= PERMANENT else UnavailableError
    return kind(f"{code} {text}")
