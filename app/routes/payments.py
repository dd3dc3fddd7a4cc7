"""Payments: asking for one, and how it stands."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from celery import states
from flask import Blueprint, Response, abort, current_app
from flask.blueprints import BlueprintSetupState
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema

from app import registry
from app.errors import InvalidError, problem
from app.models.payments import Payment
from app.routes import answers, body
from app.routes.document import Accepted, described, without_default
from app.services.payments import Terms, currencies, gateways, ledger
from app.services.payments import terms as wanted
from app.tasks import payments as tasks

blueprint = Blueprint("payments", __name__)

QUEUEING = timedelta(seconds=5)  # longer than a request may take to queue its task


@blueprint.record_once
def _gateway_is_there(setup: BlueprintSetupState) -> None:
    # A gateway that can't be loaded is told at the start, not to the first payer.
    gateways.build(setup.app.extensions["settings"])


ORDER_ID = {"type": "string", "pattern": f"^{wanted.ORDER_ID}$"}
AMOUNT = {
    "description": "A number or its digits as text; never a float.",
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**wanted.WHOLE_DIGITS},
        {"type": "string", "pattern": f"^[0-9]{{1,{wanted.WHOLE_DIGITS}}}(\\.[0-9]{{1,4}})?$"},
    ],
}
CURRENCY = {
    "description": "An ISO 4217 code; default: PAYMENT_CURRENCY.",
    "type": "string",
    "enum": sorted(currencies.DIGITS),
}
METHOD = {
    "description": "One that the gateway takes; default: its first.",
    "type": "string",
    "examples": ["success", "declined", "timeout", "error_then_success"],
}


class Order(body.Body):
    """A number's digits are taken as they are written."""

    order_id: Annotated[str, AfterValidator(wanted.order), WithJsonSchema(ORDER_ID)]
    amount: Annotated[Decimal, BeforeValidator(wanted.number), WithJsonSchema(AMOUNT)]
    currency: Annotated[
        str,
        AfterValidator(wanted.code),
        WithJsonSchema(CURRENCY),
        Field(json_schema_extra=without_default),
    ] = ""
    payment_method: Annotated[
        str, WithJsonSchema(METHOD), Field(json_schema_extra=without_default)
    ] = ""


class Shown(BaseModel):
    """A payment; the amount is exact, as text."""

    order_id: str
    amount: str
    currency: str
    payment_method: str
    status: str
    transaction_id: str | None
    error: str | None
    task_id: str
    created_at: datetime
    updated_at: datetime


@blueprint.post("/process-payment")
@described(
    "Payments",
    request=Order,
    answers={202: Accepted},
    problems={
        409: "The order is known with another amount, currency or method.",
        422: "The gateway does not take this method; `detail` names those that it takes.",
    },
    example={
        "order_id": "A-1",
        "amount": "12.50",
        "currency": "USD",
        "payment_method": "success",
    },
)
def queue_payment() -> Response:
    """Queue an order's payment; asked for again with the same terms, it is charged once."""
    order = body.read(Order, parse_float=Decimal)
    try:
        task_id = _task(tasks.with_defaults(**order.model_dump(exclude_unset=True)))
    except wanted.InvalidTermsError as error:
        return _invalid(error)
    except ledger.ConflictError as error:
        return problem(409, "Conflict", str(error))
    return answers.accepted("Payment queued for processing", task_id)


@blueprint.get("/payments/<order_id>")
@described(
    "Payments",
    path={"order_id": {**ORDER_ID, "examples": ["A-1"]}},
    answers={200: Shown},
    problems={404: "No payment has this order id."},
)
def payment(order_id: str) -> dict[str, Any]:
    """How the payment of an order stands."""
    found = ledger.find(order_id) if _is_order_id(order_id) else None
    if found is None:
        abort(404, "No payment has this order id.")
    return _shown(found)


def _is_order_id(text: str) -> bool:
    # Some databases can't even be asked for a NUL.
    try:
        wanted.order(text)
    except ValueError:
        return False
    return True


def _invalid(error: wanted.InvalidTermsError) -> Response:
    if error.field != "payment_method":
        raise InvalidError([(error.field, error.wrong)])
    errors = [{"field": error.field, "detail": error.wrong}]
    return problem(422, "Unprocessable Content", str(error), errors=errors)


def _task(terms: Terms) -> str:
    """The id of the task that pays this order: the one that has it, or a new one."""
    task_id = str(uuid.uuid4())
    payment = ledger.opened(terms, task_id)
    if payment.task_id != task_id:
        if _is_in_hand(payment):
            return payment.task_id
        ledger.begin(terms.order_id, task_id)
    _publish(terms, task_id)
    return task_id


def _is_in_hand(payment: Payment) -> bool:
    """Whether the task that has this payment works on it, or has settled it."""
    if payment.status == Payment.FAILED:
        return False
    fresh = registry.is_fresh(payment.task_id)
    if payment.status != Payment.PENDING:
        return bool(fresh)
    # Another request has opened the payment, and its task is not known yet.
    if fresh is None:
        return datetime.now(UTC) - _utc(payment.updated_at) < QUEUEING
    return fresh and not _was_stopped(payment.task_id)


def _was_stopped(task_id: str) -> bool:
    # A task that was cancelled, or whose process died each time, could not note its end.
    with current_app.extensions["breakers"]["result backend"]():
        state = current_app.extensions["celery"].AsyncResult(task_id).state
    return state in (states.FAILURE, states.REVOKED)


def _publish(terms: Terms, task_id: str) -> None:
    signature = tasks.process_payment.s(
        terms.order_id, str(terms.amount), terms.method, terms.currency
    )
    try:
        registry.publish(signature.set(task_id=task_id))
    except Exception:
        # If it was taken after all, the task will set this right.
        ledger.fail(terms.order_id, "The task could not be queued.")
        raise


def _shown(payment: Payment) -> dict[str, Any]:
    return {
        "order_id": payment.order_id,
        "amount": str(_written(payment)),
        "currency": payment.currency,
        "payment_method": payment.method,
        "status": payment.status,
        "transaction_id": payment.transaction_id,
        "error": payment.error,
        "task_id": payment.task_id,
        "created_at": _utc(payment.created_at).isoformat(),
        "updated_at": _utc(payment.updated_at).isoformat(),
    }


def _written(payment: Payment) -> Decimal:
    return wanted.in_digits(payment.amount, payment.currency)


def _utc(moment: datetime) -> datetime:
    # SQLite forgets the time zone; the tables are in UTC.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
