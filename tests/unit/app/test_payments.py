"""An order's payment from the request to the gateway: charged once, told exactly."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import func, select, update

from app import db, settings
from app.models import Payment
from app.services.payments import (
    Terms,
    ledger,
    processing,
    terms,
)
from app.services.payments.sandbox import Sandbox
from app.tasks.payments import process_payment
from followthrough.alerts import spool
from tests.support import free_port
from tests.support.payments import ORDER, URL, charges, paid


@pytest.fixture
def tries(monkeypatch):
    """The orders that the sandbox was told."""
    told = []
    charge = Sandbox.charge
    monkeypatch.setattr(
        Sandbox, "charge", lambda self, terms: told.append(terms.order_id) or charge(self, terms)
    )
    return told


def test_a_payment_is_charged_and_told(eager):
    answer, status, payment = paid(eager)
    assert answer["message"] == "Payment queued for processing"
    assert status["state"] == "SUCCESS", status
    assert status["result"] == {
        "status": "success",
        "order_id": "A-1",
        "amount": "12.50",
        "transaction_id": payment["transaction_id"],
    }
    assert payment["status"] == "completed"
    assert (payment["amount"], payment["currency"], payment["error"]) == ("12.50", "USD", None)
    assert payment["task_id"] == answer["task_id"]
    assert payment["created_at"].endswith("+00:00")


def test_order_and_amount_are_enough(eager):
    """As older callers send it: the method is the gateway's first, the currency the setting's."""
    answer = eager.post(URL, json={"order_id": "A-1", "amount": 12})
    assert answer.status_code == 202
    payment = eager.get("/api/payments/A-1").get_json()
    assert (payment["payment_method"], payment["amount"]) == ("success", "12.00")


def test_the_same_request_again_is_the_same_payment(eager):
    first, _, _ = paid(eager)
    second, _, _ = paid(eager, amount=12.5)
    assert second["task_id"] == first["task_id"]
    assert charges() == ["A-1"]


def test_workers_at_the_same_moment_charge_once(eager_app):
    """Whoever is first, all end with the same transaction."""
    order = terms.checked("A-1", "1", "USD", "success")

    def pay(number):
        with eager_app.app_context():
            return processing.pay(order, str(number), Sandbox())

    with ThreadPoolExecutor(4) as threads:
        ends = set(threads.map(pay, range(8)))
    assert charges() == ["A-1"]
    assert ends == {ledger.find("A-1").transaction_id}


def test_a_task_run_twice_charges_once(eager_app, eager, tries):
    """Run again under another id it gives the same transaction, and asks nobody."""
    _, status, _ = paid(eager)
    again = process_payment.apply(["A-1", "12.50", "success", "USD"]).get()
    assert again == status["result"]
    assert charges() == tries == ["A-1"]


def test_other_terms_for_an_order_are_a_conflict(eager):
    paid(eager)
    for change in ({"amount": "12.51"}, {"currency": "EUR"}, {"payment_method": "declined"}):
        answer = eager.post(URL, json={**ORDER, **change})
        assert answer.status_code == 409, change
        assert "new order_id" in answer.get_json()["detail"]
    assert eager.get("/api/payments/A-1").get_json()["status"] == "completed"


def test_a_decline_fails_at_once(eager):
    answer, status, payment = paid(eager, payment_method="declined")
    assert (status["state"], status["error"]) == ("FAILURE", "The card was declined.")
    assert status["retryable"] is False
    assert "retries_exhausted" not in status
    assert (payment["status"], payment["error"]) == ("declined", "The card was declined.")
    assert charges() == []
    assert paid(eager, payment_method="declined")[0]["task_id"] == answer["task_id"]


def test_a_gateway_that_stays_away_is_tried_four_times(eager, tries):
    answer, status, payment = paid(eager, payment_method="timeout")
    assert tries == ["A-1"] * 4
    assert (status["state"], status["error"]) == (
        "FAILURE",
        "The gateway did not answer in time.",
    )
    assert (status["retryable"], status["retries_exhausted"]) == (True, True)
    assert payment["status"] == "failed"
    assert paid(eager, payment_method="timeout")[0]["task_id"] != answer["task_id"]


def test_an_answer_that_got_lost_is_not_charged_again(eager, tries):
    """The first try has charged; the second brings its transaction."""
    _, status, payment = paid(eager, payment_method="error_then_success")
    assert tries == ["A-1", "A-1"]
    assert (status["state"], payment["status"]) == ("SUCCESS", "completed")
    assert charges() == ["A-1"]


def test_a_gateway_that_takes_too_long_is_tried_again(eager_app, monkeypatch):
    """Celery's soft limit ends a try, not the payment."""

    def drips(_self, _terms):
        raise SoftTimeLimitExceeded

    ledger.opened(terms.checked("A-1", "1", "USD", "success"), "id")
    monkeypatch.setattr(Sandbox, "charge", drips)
    error = process_payment.apply(["A-1", "1"]).result
    assert (str(error), error.retries_exhausted) == ("It took too long.", True)
    assert ledger.find("A-1").error == "It took too long."


def test_a_database_that_is_away_is_transient(eager_app):
    away = f"postgresql://user:hidden@127.0.0.1:{free_port()}/app"
    env = {"APP_ENV": "testing", "DATABASE_URL": away}
    eager_app.extensions["settings"] = settings.load(env)
    error = process_payment.apply(["A-1", "1"]).result
    assert str(error) == "The database does not answer."
    assert error.details == {"retryable": True, "retries_exhausted": True}


def test_the_pause_between_two_tries_is_thirty_seconds(eager_app, monkeypatch):
    pauses = []
    retry = process_payment.retry

    def seen(**options):
        pauses.append(options["countdown"])
        return retry(**options)

    monkeypatch.setattr(process_payment, "retry", seen)
    process_payment.apply(["A-1", "1", "timeout"])
    assert pauses == [30, 30, 30]


def test_a_failure_alerts(eager_app, eager):
    paid(eager, payment_method="declined")
    state_dir = eager_app.extensions["settings"].telemetry.state_dir
    (alert,) = spool.pending(state_dir)
    assert json.loads(alert.read_text())["task"] == "tasks.process_payment"


def test_a_task_called_with_bad_terms_fails_at_once(eager_app):
    wrong = {
        ("A-1", "-1"): "amount",
        ("A-1", 1.5): "amount",
        ("A 1", "1"): "order_id",
        ("A-1", "1", "success", "XXX"): "currency",
        ("A-1", "1.001"): "amount",
        ("A-1", "1", "cash"): "payment_method",
    }
    for arguments, field in wrong.items():
        error = process_payment.apply(arguments).result
        assert str(error).startswith(f"{field}: ")
        assert error.details == {"retryable": False}
    assert ledger.find("A-1") is None


def test_the_database_adds_amounts_exactly(eager_app):
    for number in range(3):
        ledger.opened(Terms(f"A-{number}", Decimal("90071992547.4093"), "USD", "success"), "id")
    with db.session() as session:
        total = session.scalar(select(func.sum(Payment.amount)))
    assert total == Decimal("270215977642.2279")


def test_what_could_not_be_queued_is_queued_by_the_next_request(make_app):
    """A 503 leaves nothing that is waited for in vain."""
    broker = f"redis://127.0.0.1:{free_port()}/0"
    down = make_app(CELERY_BROKER_URL=broker).test_client()
    assert down.post(URL, json=ORDER).status_code == 503
    assert down.get("/api/payments/A-1").get_json()["status"] == "failed"
    _, status, payment = paid(make_app(CELERY_TASK_ALWAYS_EAGER="1").test_client())
    assert (status["state"], payment["status"]) == ("SUCCESS", "completed")


@pytest.mark.parametrize(("state", "is_new"), [("PENDING", False), ("FAILURE", True)])
def test_a_task_that_was_stopped_is_replaced(make_app, state, is_new):
    """A waiting one is not: the request is answered with it."""
    app = make_app()
    client = app.test_client()
    first = client.post(URL, json=ORDER).get_json()["task_id"]
    if state == "FAILURE":
        app.extensions["celery"].backend.mark_as_failure(first, RuntimeError("killed"))
    second = client.post(URL, json=ORDER).get_json()["task_id"]
    assert (second != first) is is_new
    payment = client.get("/api/payments/A-1").get_json()
    assert (payment["status"], payment["task_id"]) == ("pending", second)


def test_a_payment_that_another_request_is_queueing_is_left_to_it(make_app):
    """Unless that request has died since."""
    client = make_app().test_client()
    with client.application.app_context():
        ledger.opened(terms.checked("A-1", "12.50", "USD", "success"), "of-another")
        assert client.post(URL, json=ORDER).get_json()["task_id"] == "of-another"
        long_ago = datetime.now(UTC) - timedelta(minutes=1)
        with db.session() as session:
            session.execute(update(Payment).values(updated_at=long_ago))
        assert client.post(URL, json=ORDER).get_json()["task_id"] != "of-another"


def test_what_is_settled_stays_settled(eager_app, eager):
    """A task that comes late changes nothing."""
    _, _, payment = paid(eager)
    ledger.fail("A-1", "late")
    ledger.begin("A-1", "late")
    assert eager.get("/api/payments/A-1").get_json() == payment


def test_the_first_of_two_processes_opens_the_payment(eager_app):
    order = terms.checked("A-1", "1", "USD", "success")
    assert ledger._inserted(order, "first").task_id == "first"
    assert ledger._inserted(order, "second") is None
    assert ledger.opened(order, "second").task_id == "first"
