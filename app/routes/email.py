"""Sending mail, to one and to many."""

from __future__ import annotations

import unicodedata
import uuid
from typing import Annotated, Any

from flask import Blueprint, Response, current_app
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from app import registry
from app.errors import InvalidError, problem
from app.routes import answers, body
from app.routes.document import Accepted, described
from app.services import attachments, bulkmail, mailaddress, subscribers
from app.tasks.email import send_bulk_emails, send_email

blueprint = Blueprint("email", __name__)

# Control characters, halves of surrogate pairs, and the separators of lines and paragraphs.
CONTROLS = {"Cc", "Cs", "Zl", "Zp"}
LONGEST_SUBJECT = 998  # characters, the longest line of a mail
LONGEST_PATH = 1024  # characters
MOST_RECIPIENTS = 10_000
# Characters of a mail to many: each of its mails carries the text through the broker.
LONGEST_BULK_TEXT = 65_536


def _one_line(text: str) -> str:
    # A line break would begin another header; other control characters have no place here either.
    if any(unicodedata.category(character) in CONTROLS for character in text):
        raise ValueError("Line breaks and control characters are not allowed.")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("Must not be blank.")
    return text


Address = Annotated[
    str,
    AfterValidator(mailaddress.normalised),
    WithJsonSchema({"type": "string", "format": "email"}),
]
Subject = Annotated[
    str,
    StringConstraints(max_length=LONGEST_SUBJECT),
    AfterValidator(_one_line),
    AfterValidator(_not_blank),
]
Reference = Annotated[body.Text, StringConstraints(min_length=1, max_length=LONGEST_PATH)]
Text = Annotated[body.Text, AfterValidator(_not_blank)]
BulkText = Annotated[body.Text, StringConstraints(max_length=LONGEST_BULK_TEXT)]


class Mail(body.Body):
    recipient: Address
    subject: Subject
    body: Text
    html: Text | None = None
    attachments: list[Reference] = Field([], max_length=attachments.MOST)


SEGMENT = {"type": "string", "enum": list(subscribers.SEGMENTS)}


class BulkMail(body.Body):
    """Exactly one of `recipients` and `segment` is given."""

    recipients: Annotated[list[Address], Field(min_length=1, max_length=MOST_RECIPIENTS)] | None = (
        None
    )
    segment: Annotated[str, WithJsonSchema(SEGMENT)] | None = None
    subject: Subject = "No Subject"
    body: BulkText = ""
    html: Annotated[BulkText, AfterValidator(_not_blank)] | None = None


@blueprint.post("/send-email")
@described(
    "Mail",
    request=Mail,
    answers={202: Accepted},
    example={"recipient": "ada@example.com", "subject": "Hello", "body": "It works."},
)
def queue_email() -> Response:
    """Queue one mail, with an HTML part and attachments where wanted."""
    mail = body.read(Mail)
    try:
        attachments.find(current_app.extensions["settings"].files_dir, mail.attachments)
    except attachments.UnfitError as error:
        raise InvalidError([(error.field, error.wrong)]) from None
    result = registry.publish(send_email.s(**mail.model_dump(exclude_defaults=True)))
    return answers.accepted("Email queued for sending", result.id)


@blueprint.post("/send-bulk-emails")
@described(
    "Mail",
    request=BulkMail,
    answers={202: Accepted},
    problems={422: "There is no such segment."},
    example={
        "recipients": ["ada@example.com", "grace@example.com"],
        "subject": "News",
        "body": "It works.",
    },
)
def queue_bulk_emails() -> Response:
    """Queue a mail to a list of recipients, or to a segment of the subscribers."""
    mail = body.read(BulkMail)
    if (mail.recipients is None) == (mail.segment is None):
        raise InvalidError([("recipients", "Give either recipients or a segment.")])
    content = mail.model_dump(include={"subject", "body", "html"}, exclude_none=True)
    if mail.segment is not None:
        return _to_segment(mail.segment, content)
    return _to_list(mail.recipients or [], content)


def _to_segment(segment: str, content: dict[str, Any]) -> Response:
    try:
        subscribers.check(segment)
    except subscribers.UnknownSegmentError as error:
        errors = [{"field": "segment", "detail": str(error)}]
        return problem(422, "Unprocessable Content", str(error), errors=errors)
    number = subscribers.count(segment)
    result = registry.publish(send_bulk_emails.s(segment=segment, **content))
    return answers.accepted(f"Queued {number} emails", result.id)


def _to_list(recipients: list[str], content: dict[str, Any]) -> Response:
    # The addresses wait in the database, so that the message stays small.
    task_id = str(uuid.uuid4())
    number = bulkmail.keep(task_id, [bulkmail.Recipient(each) for each in recipients])
    try:
        registry.publish(send_bulk_emails.s(**content).set(task_id=task_id))
    except Exception:
        bulkmail.discard(task_id)
        raise
    return answers.accepted(f"Queued {number} emails", task_id)
