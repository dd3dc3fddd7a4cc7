"""What a caller asks to be paid, checked: exact decimals within bounds, never a float."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from app.services.payments import Terms
from app.services.payments.currencies import DIGITS

T = TypeVar("T")

# As an HTTP header and a part of a path it needs no quoting.
ORDER_ID = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_AMOUNT = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)
WHOLE_DIGITS = 14  # before the point; with 4 behind it an amount fits a 64-bit integer


class InvalidTermsError(ValueError):
    """A field of the terms is wrong; the message says what."""

    def __init__(self, field: str, wrong: str) -> None:
        super().__init__(field, wrong)
        self.field, self.wrong = field, wrong

    def __str__(self) -> str:
        return f"{self.field}: {self.wrong}"


def checked(order_id: str, amount: object, currency: str, method: str) -> Terms:
    """The terms, with the amount written in its currency's digits; raises InvalidTermsError."""
    for field, check, value in (("order_id", order, order_id), ("currency", code, currency)):
        _named(field, check, value)
    exact = _named("amount", number, amount)
    return Terms(order_id, _named("amount", in_digits, exact, currency), currency, method)


def _named(field: str, check: Callable[..., T], *values: Any) -> T:
    try:
        return check(*values)
    except ValueError as error:
        raise InvalidTermsError(field, str(error)) from None


def order(text: str) -> str:
    if not isinstance(text, str) or not re.fullmatch(ORDER_ID, text):
        raise ValueError(
            "Must be 1 to 64 letters, digits, dots, hyphens or underscores, "
            "the first a letter or a digit."
        )
    return text


def code(text: str) -> str:
    if text not in DIGITS:
        raise ValueError("Is no ISO 4217 code, as in USD.")
    return text


def number(value: object) -> Decimal:
    """A JSON number or a string of digits as a positive decimal; raises ValueError."""
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        # A TypeError would not be told as the field's fault.
        raise ValueError("Must be a decimal number, as in 12.50 or '12.50'.")  # noqa: TRY004
    return _bounded(value)


def _bounded(value: int | Decimal) -> Decimal:
    # The bound first: an integer of any length compares fast.
    if not 0 < value < 10**WHOLE_DIGITS:
        raise ValueError(f"Must be more than 0, with at most {WHOLE_DIGITS} digits.")
    return Decimal(value)


def in_digits(amount: Decimal, currency: str) -> Decimal:
    """The amount with as many digits behind the point as its currency has."""
    digits = DIGITS[currency]
    written = amount.quantize(Decimal(1).scaleb(-digits))
    # A comparison is exact, where rounding has changed the amount.
    if written != amount:
        raise ValueError(f"At most {digits} digits may follow the point in {currency}.")
    return written
