"""Payments: what is to be paid, and the small protocol that every gateway speaks.

A gateway is told an order's terms and answers with a receipt. The order's id is the idempotency
key: a gateway that is told the same order again charges nothing, and gives the same receipt.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True)
class Terms:
    """What is to be paid for an order, and how; see `terms.checked` for their bounds."""

    order_id: str
    amount: Decimal
    currency: str
    method: str


class DeclinedError(Exception):
    """The payer's side said no; nothing was charged, and it stays so."""


class RejectedError(Exception):
    """The terms are not acceptable; nothing was charged, and trying again doesn't help."""


class TransientError(Exception):
    """No answer, or one that asks to try again; it may have been charged."""


class Gateway(Protocol):
    """`methods` are the payment methods it takes; the first is used if none is given."""

    methods: tuple[str, ...]

    def charge(self, terms: Terms) -> str:
        """Charge once for this order, however often called; gives the transaction's id.

        Raises DeclinedError, RejectedError or TransientError.
        """
        ...
