"""Webhooks: signed messages, their retries, and the table of what became of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from celery.exceptions import Retry
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app import db
from app.models import WebhookDelivery
from app.services import webhooks
from app.services.http_client import Answer, RefusedError, UnavailableError
from app.services.webhooks import Webhook
from app.tasks.webhooks import send_webhook
from tests.support import free_port

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def app(make_app):
    return make_app(CELERY_TASK_ALWAYS_EAGER="1", WEBHOOK_SECRET=SECRET)


def sent(app, url, **members):
    client = app.test_client()
    body = {"url": url, "event_data": {"order": 1}, **members}
    answer = client.post("/api/send-webhook", json=body)
    assert answer.status_code == 202, answer.get_json()
    assert answer.get_json()["message"] == "Webhook queued for delivery"
    return client.get(answer.get_json()["status_url"]).get_json()


def row(app):
    with app.app_context(), db.session() as session:
        found = session.scalars(select(WebhookDelivery)).one()
        session.expunge(found)
        return found


def attempt(app, retries, url, task_id="1"):
    """Run one attempt as a worker does, with the retry that it asks for raised."""
    kwargs = {"url": url, "event_data": {}}
    send_webhook.push_request(
        id=task_id, retries=retries, is_eager=True, called_directly=False, kwargs=kwargs
    )
    try:
        with app.app_context():
            return send_webhook.run(**kwargs)
    finally:
        send_webhook.pop_request()


def test_a_webhook_is_delivered_and_kept(app, httpserver):
    httpserver.expect_request("/hook", method="POST").respond_with_data("", status=204)
    url = f"http://user:pass@127.0.0.1:{httpserver.port}/hook?token=1"
    status = sent(app, url, event="order.paid")
    assert status["result"] == {"status": "delivered", "status_code": 204}
    kept = row(app)
    assert (kept.url, kept.event) == (f"http://127.0.0.1:{httpserver.port}/hook", "order.paid")
    assert (kept.state, kept.status_code, kept.attempts) == ("delivered", 204, 1)
    assert (kept.task_id, kept.id) == (status["task_id"], f"msg_{status['task_id']}")
    assert kept.created_at <= kept.updated_at


def test_the_receiver_can_check_the_signature(app, httpserver):
    """As Standard Webhooks says: over the id, the time and the very bytes of the body."""
    httpserver.expect_request("/").respond_with_data("")
    sent(app, httpserver.url_for("/"))
    [(request, _)] = httpserver.log
    made = {name: request.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")}
    signed = f"{made['id']}.{made['timestamp']}.".encode() + request.data
    digest = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    assert made["signature"] == f"v1,{digest}"
    assert abs(datetime.now(UTC).timestamp() - int(made["timestamp"])) < 5


def test_without_a_secret_nothing_is_signed(make_app, httpserver):
    httpserver.expect_request("/").respond_with_data("")
    sent(make_app(CELERY_TASK_ALWAYS_EAGER="1"), httpserver.url_for("/"))
    [(request, _)] = httpserver.log
    assert "webhook-id" in request.headers
    assert "webhook-signature" not in request.headers


def test_a_receiver_in_trouble_is_tried_again(app, httpserver):
    """The message keeps its id, by which a receiver knows one that it has already taken."""
    httpserver.expect_ordered_request("/").respond_with_data("", status=500)
    httpserver.expect_ordered_request("/").respond_with_data("", status=404)
    httpserver.expect_ordered_request("/").respond_with_data("")
    status = sent(app, httpserver.url_for("/"))
    assert status["result"] == {"status": "delivered", "status_code": 200}
    assert len({request.headers["webhook-id"] for request, _ in httpserver.log}) == 1
    assert (row(app).attempts, row(app).state) == (3, "delivered")


def test_a_receiver_that_stays_in_trouble_is_given_up(app, httpserver):
    httpserver.expect_request("/").respond_with_data("", status=502)
    status = sent(app, httpserver.url_for("/"))
    assert (status["state"], status["error"]) == ("FAILURE", "HTTP 502")
    assert status["retries_exhausted"] is True
    assert len(httpserver.log) == 4
    assert (row(app).state, row(app).status_code, row(app).attempts) == ("failed", 502, 4)


def test_a_receiver_that_is_down_is_given_up_in_the_end(app):
    status = sent(app, f"http://127.0.0.1:{free_port()}/")
    assert (status["error"], status["retries_exhausted"]) == ("ConnectionRefusedError", True)
    assert (row(app).state, row(app).status_code, row(app).attempts) == ("failed", None, 4)


def test_a_receiver_that_is_gone_is_not_tried_again(app, httpserver):
    httpserver.expect_request("/").respond_with_data("", status=410)
    status = sent(app, httpserver.url_for("/"))
    assert status["state"] == "FAILURE"
    assert status["retryable"] is False
    assert len(httpserver.log) == 1
    assert (row(app).state, row(app).status_code) == ("failed", 410)


def test_a_private_receiver_is_not_tried_again(make_app, httpserver):
    """A name that means a private address is found out where it is looked up."""
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1", OUTGOING_ALLOWED="10.0.0.0/8")
    status = sent(app, f"http://localhost:{httpserver.port}/")
    assert status["state"] == "FAILURE"
    assert "OUTGOING_ALLOWED" in status["error"]
    assert (row(app).state, row(app).attempts, httpserver.log) == ("failed", 1, [])


@pytest.mark.parametrize(("retries", "pause"), [(0, 60), (1, 120), (2, 240)])
def test_the_pauses_are_as_promised(app, httpserver, retries, pause):
    httpserver.expect_request("/").respond_with_data("", status=500)
    with pytest.raises(Retry) as raised:
        attempt(app, retries, httpserver.url_for("/"))
    assert raised.value.when == pause
    assert (row(app).state, row(app).status_code) == ("pending", 500)


@pytest.mark.parametrize(("asked", "waited"), [(None, 60), (5, 60), (100, 100), (1e9, 3600)])
def test_a_receiver_may_ask_for_a_longer_pause(asked, waited):
    assert webhooks.pause(0, asked) == waited


def test_a_task_that_runs_twice_sends_once(app, httpserver):
    httpserver.expect_request("/").respond_with_data("", status=201)
    url = httpserver.url_for("/")
    assert (
        attempt(app, 0, url)
        == attempt(app, 0, url)
        == {
            "status": "delivered",
            "status_code": 201,
        }
    )
    assert len(httpserver.log) == row(app).attempts == 1


def test_a_database_that_is_away_is_waited_for(app, monkeypatch):
    def away(_url):
        raise OperationalError("BEGIN", {}, Exception("away"))

    monkeypatch.setattr(db, "engine", away)
    with pytest.raises(Retry) as raised:
        attempt(app, 0, "http://127.0.0.1:1/")
    assert isinstance(raised.value.exc, UnavailableError)


def test_the_limits_are_as_promised():
    assert (send_webhook.max_retries, webhooks.TIMEOUT) == (3, 10)
    assert webhooks.TIMEOUT < send_webhook.soft_time_limit < send_webhook.time_limit


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=2))])
def test_a_named_event_is_put_into_the_standard_envelope(zone):
    """Its time is in UTC, however the database gives it."""
    created = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    created = created.astimezone(zone) if zone else created.replace(tzinfo=None)
    made = webhooks.body(Webhook("1", "", {"a": 1}, "order.paid"), created)
    assert json.loads(made) == {
        "type": "order.paid",
        "timestamp": "2026-01-02T03:04:05+00:00",
        "data": {"a": 1},
    }


def test_other_data_is_sent_as_it_is():
    made = webhooks.body(Webhook("1", "", {"type": "mine"}), datetime.now(UTC))
    assert json.loads(made) == {"type": "mine"}


@pytest.mark.parametrize("status", [100, 199, 301, 400, 404, 429, 500])
def test_any_status_but_success_is_a_failure(status):
    with pytest.raises(UnavailableError):
        webhooks.raise_for(Answer(status, "utf-8", None, b"", complete=True))


def test_gone_is_for_good():
    with pytest.raises(RefusedError):
        webhooks.raise_for(Answer(410, "utf-8", None, b"", complete=True))
