"""The payments table: an order's terms, and how far its payment came.

An order that is completed or declined stays so, whichever task comes late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from app import db
from app.models.payments import Payment
from app.services.payments import Terms

LONGEST_ERROR = 1000
FINAL = (Payment.COMPLETED, Payment.DECLINED)


class ConflictError(Exception):
    """The order id is taken, with other terms."""


def find(order_id: str) -> Payment | None:
    with db.session() as session:
        payment = session.get(Payment, order_id)
        if payment:
            session.expunge(payment)
        return payment


def opened(terms: Terms, task_id: str) -> Payment:
    """The order's payment, made now if there is none; raises ConflictError."""
    payment = find(terms.order_id) or _inserted(terms, task_id) or find(terms.order_id)
    if payment is None:
        raise LookupError(f"The payment of {terms.order_id} was deleted meanwhile.")
    if _terms(payment) != terms:
        raise ConflictError(
            f"Order {terms.order_id} has a payment with another amount, currency or method; "
            "use a new order_id."
        )
    return payment


def _inserted(terms: Terms, task_id: str) -> Payment | None:
    """The new payment, or None if another process was first."""
    try:
        with db.session() as session:
            session.add(Payment(**vars(terms), task_id=task_id))
    except IntegrityError:
        return None
    return find(terms.order_id)


def _terms(payment: Payment) -> Terms:
    return Terms(payment.order_id, payment.amount, payment.currency, payment.method)


def begin(order_id: str, task_id: str) -> None:
    """Hand an order that isn't settled to this task."""
    _change(order_id, {"status": Payment.PENDING, "task_id": task_id})


def complete(order_id: str, transaction_id: str) -> None:
    _change(
        order_id,
        {"status": Payment.COMPLETED, "transaction_id": transaction_id, "error": None},
    )


def decline(order_id: str, reason: str) -> None:
    _change(order_id, {"status": Payment.DECLINED, "error": reason[:LONGEST_ERROR]})


def fail(order_id: str, reason: str) -> None:
    _change(order_id, {"status": Payment.FAILED, "error": reason[:LONGEST_ERROR]})


def _change(order_id: str, values: Mapping[str, Any]) -> None:
    unsettled = Payment.status.not_in(FINAL)
    with db.session() as session:
        session.execute(
            update(Payment).where(Payment.order_id == order_id, unsettled).values(**values)
        )
