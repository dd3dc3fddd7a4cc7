"""Payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from flask import current_app

from app.services.failures import JobFailedError
from app.services.payments import Gateway, Terms, TransientError, gateways
from app.services.payments.terms import InvalidTermsError, checked

if TYPE_CHECKING:
    from app.settings import Settings

PAUSE = 30  # seconds between two tries


@shared_task(
    name="tasks.process_payment",
    bind=True,
    critical=True,
    max_retries=3,
    # Longer than a gateway may take to connect and answer.
    soft_time_limit=60,
    time_limit=90,
)
def process_payment(
    self: Task,
    order_id: str,
    amount: str,
    payment_method: str | None = None,
    currency: str | None = None,
) -> dict[str, Any]:
    """Charge an order once, however often this runs; a refusal fails at once and for good."""
    # Only the pool process that runs it loads SQLAlchemy.
    from app.services.payments import processing  # noqa: PLC0415

    try:
        terms = with_defaults(order_id, amount, payment_method, currency)
        transaction_id = processing.pay(terms, self.request.id, gateway())
    except processing.FOR_GOOD as error:
        raise JobFailedError(str(error)) from error
    except (TransientError, SoftTimeLimitExceeded) as error:
        if self.request.retries < self.max_retries:
            raise self.retry(exc=error, countdown=PAUSE) from error
        reason = _reason(error)
        processing.give_up(order_id, reason)
        raise JobFailedError(reason, retryable=True, retries_exhausted=True) from error
    return result(terms, transaction_id)


def _reason(error: Exception) -> str:
    return "It took too long." if isinstance(error, SoftTimeLimitExceeded) else str(error)


def result(terms: Terms, transaction_id: str) -> dict[str, Any]:
    return {
        "status": "success",
        "order_id": terms.order_id,
        # As text: JSON's readers make floats of numbers.
        "amount": str(terms.amount),
        "transaction_id": transaction_id,
    }


def gateway() -> Gateway:
    return gateways.build(current_app.extensions["settings"])


def with_defaults(
    order_id: str, amount: object, payment_method: str | None = None, currency: str | None = None
) -> Terms:
    """The terms, checked; what isn't given is the setting's and the gateway's first method."""
    settings: Settings = current_app.extensions["settings"]
    methods = gateway().methods
    method = methods[0] if payment_method is None else payment_method
    if method not in methods:
        raise InvalidTermsError("payment_method", f"Must be one of {', '.join(methods)}.")
    return checked(order_id, amount, currency or settings.payment_currency, method)
