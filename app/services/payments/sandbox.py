"""A gateway for development and tests: each payment method behaves in a fixed way.

Its charges are rows of the table sandbox_charges, by idempotency key; they are committed apart from
the service's own rows, as another company's would be.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from app import db, patience
from app.models.payments import Payment, SandboxCharge
from app.services.payments import DeclinedError, RejectedError, Terms, TransientError


class Sandbox:
    methods: tuple[str, ...] = ("success", "declined", "timeout", "error_then_success")

    def charge(self, terms: Terms) -> str:
        if terms.method == "declined":
            raise DeclinedError("The card was declined.")
        if terms.method == "timeout":
            raise TransientError("The gateway did not answer in time.")
        made = _insert(terms)
        if made and terms.method == "error_then_success":
            # The hard case: it was charged, and the answer got lost.
            raise TransientError("The gateway answered 502.")
        return _transaction(terms)


def _insert(terms: Terms) -> bool:
    """Whether this call has charged; a key is charged once."""
    charge = SandboxCharge(
        idempotency_key=terms.order_id,
        amount=terms.amount,
        currency=terms.currency,
        transaction_id=f"sandbox_{uuid.uuid4().hex}",
    )
    try:
        with db.session() as session:
            session.add(charge)
    except IntegrityError:
        return False
    return True


def forget(before: datetime) -> None:
    """Delete charges made before this moment, but those that a payment may still ask for."""
    settled = (Payment.COMPLETED, Payment.DECLINED)
    asked = select(Payment.order_id).where(Payment.status.not_in(settled))
    old = SandboxCharge.created_at < before, SandboxCharge.idempotency_key.not_in(asked)
    statement = delete(SandboxCharge).where(*old).execution_options(synchronize_session=False)
    with patience.endless(), db.session() as session:
        session.execute(statement)


def _transaction(terms: Terms) -> str:
    with db.session() as session:
        charge = session.get_one(SandboxCharge, terms.order_id)
        if (charge.amount, charge.currency) != (terms.amount, terms.currency):
            raise RejectedError("The idempotency key was used with another amount.")
        return charge.transaction_id
