"""The gateways, what their answers mean, and how a setting names one."""

from __future__ import annotations

import pytest

from app.services.payments import (
    DeclinedError,
    RejectedError,
    TransientError,
    gateways,
    http,
    processing,
    terms,
)
from app.services.payments.sandbox import Sandbox
from app.settings import SettingsError
from app.tasks.payments import process_payment
from tests.support import free_port
from tests.support.payments import paid


def test_the_sandbox_refuses_its_key_with_another_amount(eager_app):
    sandbox = Sandbox()
    sandbox.charge(terms.checked("A-1", "1", "USD", "success"))
    with pytest.raises(RejectedError):
        sandbox.charge(terms.checked("A-1", "2", "USD", "success"))


@pytest.fixture
def over_http(make_app, httpserver):
    app = make_app(
        CELERY_TASK_ALWAYS_EAGER="1",
        PAYMENT_GATEWAY="http",
        PAYMENT_GATEWAY_URL=httpserver.url_for("/charges"),
        PAYMENT_GATEWAY_TOKEN="t",
        PAYMENT_METHODS="card,sepa",
    )
    return app.test_client()


def test_a_charge_over_http_carries_its_key(over_http, httpserver):
    """A try that failed and the next one are the same request, by its key."""
    headers = {"Idempotency-Key": "A-1", "Authorization": "Bearer t"}
    wanted = {"order_id": "A-1", "amount": "12.50", "currency": "USD", "payment_method": "sepa"}
    expected = {"uri": "/charges", "method": "POST", "headers": headers, "json": wanted}
    httpserver.expect_oneshot_request(**expected).respond_with_data("", 503)
    httpserver.expect_oneshot_request(**expected).respond_with_json({"transaction_id": "t-9"}, 201)
    _, status, payment = paid(over_http, payment_method="sepa")
    assert status["result"]["transaction_id"] == payment["transaction_id"] == "t-9"
    httpserver.check_assertions()
    assert len(httpserver.log) == 2


def test_the_operator_s_gateway_may_be_at_a_private_address(make_app, httpserver):
    """Callers can't name it, so what keeps their calls out of the network doesn't hold for it."""
    httpserver.expect_request("/charges").respond_with_json({"transaction_id": "t-1"})
    app = make_app(
        CELERY_TASK_ALWAYS_EAGER="1",
        PAYMENT_GATEWAY="http",
        PAYMENT_GATEWAY_URL=httpserver.url_for("/charges"),
        OUTGOING_ALLOWED="hooks.internal",
    )
    _, status, _ = paid(app.test_client(), payment_method="card")
    assert status["state"] == "SUCCESS", status


def test_a_rejection_over_http_fails_at_once(over_http, httpserver):
    httpserver.expect_request("/charges").respond_with_json({"detail": "No such shop."}, 403)
    _, status, payment = paid(over_http, payment_method="card")
    assert status["error"] == "The gateway answered 403. No such shop."
    assert (status["retryable"], payment["status"]) == (False, "failed")
    assert len(httpserver.log) == 1


def test_a_gateway_that_is_down_is_transient_and_its_address_is_kept_back(make_app):
    app = make_app(
        CELERY_TASK_ALWAYS_EAGER="1",
        PAYMENT_GATEWAY="http",
        PAYMENT_GATEWAY_URL=f"http://user:hidden@127.0.0.1:{free_port()}/",
    )
    _, status, payment = paid(app.test_client(), payment_method="card")
    assert (status["retryable"], status["retries_exhausted"]) == (True, True)
    assert (
        payment["error"] == status["error"] == "The gateway gave no answer: ConnectionRefusedError."
    )


@pytest.mark.parametrize(
    ("status", "raw", "kind"),
    [
        (402, b'{"detail": "No funds."}', DeclinedError),
        (402, b"", DeclinedError),
        (400, b"[", RejectedError),
        (422, b"[]", RejectedError),
        (302, b"", RejectedError),
        (408, b"", TransientError),
        (409, b"", TransientError),
        (425, b"", TransientError),
        (429, b"", TransientError),
        (500, b"", TransientError),
        (200, b"", TransientError),
        (200, b"[" * 100_000, TransientError),
        (200, b'{"transaction_id": 7}', TransientError),
        (200, b'{"transaction_id": ""}', TransientError),
    ],
)
def test_what_an_http_gateway_answers_is_told_apart(status, raw, kind):
    with pytest.raises(kind):
        http.transaction(status, raw)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"PAYMENT_GATEWAY": "http"}, "PAYMENT_GATEWAY_URL"),
        ({"PAYMENT_GATEWAY_URL": "ftp://a/"}, "PAYMENT_GATEWAY_URL"),
        ({"PAYMENT_METHODS": ","}, "PAYMENT_METHODS"),
        ({"PAYMENT_CURRENCY": "usd"}, "PAYMENT_CURRENCY"),
        ({"PAYMENT_GATEWAY": "none"}, "sandbox"),
        ({"PAYMENT_GATEWAY": "no.module:Gateway"}, "can't be loaded"),
        ({"PAYMENT_GATEWAY": "app.settings:Gateway"}, "can't be loaded"),
    ],
)
def test_a_wrong_setting_is_told_at_the_start(make_app, environ, named):
    with pytest.raises(SettingsError, match=named):
        make_app(**environ)


def test_a_gateway_of_a_checkout_is_named_by_its_module(make_app):
    app = make_app(PAYMENT_GATEWAY="tests.support.gateways:Holding")
    assert type(gateways.build(app.extensions["settings"])).__name__ == "Holding"


def test_an_installed_package_offers_a_gateway(make_app, tmp_path, monkeypatch):
    """By an entry point, as pip writes it."""
    package = tmp_path / "site" / "shop-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    entry = "[followthrough_service.payment_gateways]\nshop = tests.support.gateways:Holding\n"
    (package / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(tmp_path / "site")
    app = make_app(PAYMENT_GATEWAY="shop")
    assert type(gateways.build(app.extensions["settings"])).__name__ == "Holding"


def test_a_slow_gateway_is_stopped_before_redis_redelivers():
    from app import queues
    from app.tasks.payments import PAUSE

    assert http.TIMEOUT < process_payment.soft_time_limit < process_payment.time_limit
    assert process_payment.time_limit <= queues.LONGEST_RUN
    assert PAUSE <= queues.LONGEST_WAIT
    assert set(processing.FOR_GOOD).isdisjoint({TransientError})
