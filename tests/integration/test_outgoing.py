"""Calls of other services by a real worker, and what Redis gives back of their ends."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from app import create_app, db, settings
from app.models import WebhookDelivery
from tests.support import redis_server, wait_for
from tests.support.parts import Parts

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A client of the API, with a worker that takes its jobs."""
    directory = tmp_path_factory.mktemp("outgoing")
    with redis_server(directory) as (_, url):
        parts = Parts(directory, url)
        app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
        with app.app_context(), parts.worker("-c", "1"):
            yield app.test_client()


def post(client, path, **body):
    answer = client.post(path, json=body)
    assert answer.status_code == 202, answer.get_json()
    return answer.get_json()["status_url"]


def reached(client, url, state):
    def asked():
        status = client.get(url).get_json()
        return status if status["state"] == state else None

    return wait_for(asked, f"the task is {state}")


def test_a_service_that_asks_for_a_pause_is_called_again(service, httpserver):
    """The retry goes through the broker, with the same key."""
    headers = {"Retry-After": "0"}
    httpserver.expect_ordered_request("/").respond_with_data("", 429, headers=headers)
    httpserver.expect_ordered_request("/").respond_with_json({"done": True})
    url = post(service, "/api/call-external-api", endpoint=httpserver.url_for("/"), payload={})
    assert reached(service, url, "SUCCESS")["result"] == {"done": True}
    assert len({request.headers["Idempotency-Key"] for request, _ in httpserver.log}) == 1


def test_a_refusal_says_that_another_try_is_no_use(service, httpserver):
    httpserver.expect_request("/").respond_with_data("", 422)
    url = post(service, "/api/call-external-api", endpoint=httpserver.url_for("/"), payload={})
    status = reached(service, url, "FAILURE")
    assert (status["error"], status["retryable"]) == ("HTTP 422", False)


def test_a_webhook_waits_for_its_next_try(service, httpserver):
    httpserver.expect_request("/").respond_with_data("", 503)
    url = post(service, "/api/send-webhook", url=httpserver.url_for("/"), event_data={})
    task_id = reached(service, url, "RETRY")["task_id"]
    with db.session() as session:
        found = select(WebhookDelivery).where(WebhookDelivery.task_id == task_id)
        row = session.scalars(found).one()
        assert (row.state, row.status_code, row.attempts) == ("pending", 503, 1)


def test_a_webhook_is_delivered(service, httpserver):
    httpserver.expect_request("/").respond_with_data("", 202)
    url = post(service, "/api/send-webhook", url=httpserver.url_for("/"), event_data={})
    result = {"status": "delivered", "status_code": 202}
    assert reached(service, url, "SUCCESS")["result"] == result
