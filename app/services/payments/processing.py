"""One try at an order's payment, which may be made any number of times."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy.exc import OperationalError

from app.models.payments import Payment
from app.services.payments import (
    DeclinedError,
    Gateway,
    RejectedError,
    Terms,
    TransientError,
    ledger,
)
from app.services.payments.terms import InvalidTermsError

# Another try would end in the same way.
FOR_GOOD = (InvalidTermsError, ledger.ConflictError, DeclinedError, RejectedError)


def pay(terms: Terms, task_id: str, gateway: Gateway) -> str:
    """Charge what isn't charged yet, and note how it ended; gives the transaction's id.

    Raises one of FOR_GOOD, or TransientError. Killed after the charge and before the note, it is
    run again, and the gateway knows the order.
    """
    try:
        return _settled(terms, task_id, gateway)
    except OperationalError as error:
        raise TransientError("The database does not answer.") from error


def give_up(order_id: str, reason: str) -> None:
    """Note that it was tried in vain, if the database can be told."""
    with suppress(OperationalError):
        ledger.fail(order_id, reason)


def _settled(terms: Terms, task_id: str, gateway: Gateway) -> str:
    payment = ledger.opened(terms, task_id)
    if payment.status == Payment.COMPLETED and payment.transaction_id:
        return payment.transaction_id
    if payment.status == Payment.DECLINED:
        raise DeclinedError(payment.error or "")
    return _charged(terms, gateway)


def _charged(terms: Terms, gateway: Gateway) -> str:
    try:
        transaction_id = gateway.charge(terms)
    except DeclinedError as error:
        ledger.decline(terms.order_id, str(error))
        raise
    except RejectedError as error:
        ledger.fail(terms.order_id, str(error))
        raise
    ledger.complete(terms.order_id, transaction_id)
    return transaction_id
