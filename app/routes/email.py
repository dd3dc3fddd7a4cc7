"""Sending mail."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from flask import Blueprint, Response
from pydantic import AfterValidator, StringConstraints, WithJsonSchema

from app import registry
from app.routes import answers, body
from app.routes.document import Accepted, described
from app.tasks.email import send_email

blueprint = Blueprint("email", __name__)

# Control characters, halves of surrogate pairs, and the separators of lines and paragraphs.
CONTROLS = {"Cc", "Cs", "Zl", "Zp"}
LONGEST_SUBJECT = 998  # characters, the longest line of a mail


def _address(text: str) -> str:
    try:
        # Whether the domain takes mail is the mail server's to say, not a look-up's in a request.
        valid = validate_email(text, check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    # Any mail server can read a domain in ASCII.
    return f"{valid.local_part}@{valid.ascii_domain}"


def _one_line(text: str) -> str:
    # A line break would begin another header; other control characters have no place here either.
    if any(unicodedata.category(character) in CONTROLS for character in text):
        raise ValueError("Line breaks and control characters are not allowed.")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("Must not be blank.")
    return text


ADDRESS = {"type": "string", "format": "email", "maxLength": 254}
NOT_BLANK = {"type": "string", "pattern": r"\S"}
SUBJECT = {
    "type": "string",
    "maxLength": LONGEST_SUBJECT,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*"
    r"[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$",
}


class Mail(body.Body):
    recipient: Annotated[str, AfterValidator(_address), WithJsonSchema(ADDRESS)]
    subject: Annotated[
        str,
        StringConstraints(max_length=LONGEST_SUBJECT),
        AfterValidator(_one_line),
        AfterValidator(_not_blank),
        WithJsonSchema(SUBJECT),
    ]
    body: Annotated[body.Text, AfterValidator(_not_blank), WithJsonSchema(NOT_BLANK)]


@blueprint.post("/send-email")
@described(
    "Mail",
    request=Mail,
    answers={202: Accepted},
    example={"recipient": "ada@example.com", "subject": "Hello", "body": "It works."},
)
def queue_email() -> Response:
    """Queue one mail."""
    mail = body.read(Mail)
    result = registry.publish(send_email.s(**mail.model_dump()))
    return answers.accepted("Email queued for delivery", result.id)
