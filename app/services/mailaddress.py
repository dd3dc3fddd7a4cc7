"""Mail addresses, in the one spelling that the service keeps and sends to."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email


def normalised(text: str) -> str:
    """The address as any mail server reads it; raises ValueError saying what is wrong."""
    try:
        # Whether the domain takes mail is the mail server's to say, not a look-up's in a request.
        valid = validate_email(text, check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    # Any mail server can read a domain in ASCII.
    return f"{valid.local_part}@{valid.ascii_domain}"
