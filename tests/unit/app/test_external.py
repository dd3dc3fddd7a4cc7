"""Calls of other services' APIs: what their answers mean, and when they are tried again."""

from __future__ import annotations

import json

import pytest
from celery.exceptions import Retry

from app.services import external, webhooks
from app.services.failures import JobFailedError
from app.services.http_client import Answer, UnavailableError
from app.tasks.external import call_external_api


@pytest.fixture
def app(make_app):
    return make_app(CELERY_TASK_ALWAYS_EAGER="1")


def called(app, endpoint, payload=None):
    client = app.test_client()
    body = {"endpoint": endpoint, "payload": payload or {}}
    answer = client.post("/api/call-external-api", json=body)
    assert answer.status_code == 202, answer.get_json()
    assert answer.get_json()["message"] == "API call queued"
    return client.get(answer.get_json()["status_url"]).get_json()


def answer(status=200, body=b"", encoding="utf-8", retry_after=None, complete=True):
    return Answer(status, encoding, retry_after, body, complete)


def test_the_answer_is_the_result(app, httpserver):
    httpserver.expect_request("/a", method="POST", json={"b": "\u00fc"}).respond_with_json({"c": 1})
    status = called(app, httpserver.url_for("/a"), {"b": "\u00fc"})
    assert (status["state"], status["result"]) == ("SUCCESS", {"c": 1})


def test_a_service_in_trouble_is_asked_again(app, httpserver):
    """With the same key, so that it can tell a repeated call."""
    httpserver.expect_ordered_request("/").respond_with_data("", status=503)
    httpserver.expect_ordered_request("/").respond_with_data("", status=429)
    httpserver.expect_ordered_request("/").respond_with_json([])
    status = called(app, httpserver.url_for("/"))
    assert (status["state"], status["result"]) == ("SUCCESS", [])
    keys = {request.headers["Idempotency-Key"] for request, _ in httpserver.log}
    assert keys == {status["task_id"]}


def test_a_service_that_stays_in_trouble_is_given_up(app, httpserver):
    httpserver.expect_request("/").respond_with_data("", status=500)
    status = called(app, httpserver.url_for("/"))
    assert (status["state"], status["error"]) == ("FAILURE", "HTTP 500")
    assert len(httpserver.log) == 6


@pytest.mark.parametrize("code", [400, 401, 404, 409, 422, 301])
def test_a_refusal_fails_at_once(app, httpserver, code):
    httpserver.expect_request("/").respond_with_data("", status=code)
    status = called(app, httpserver.url_for("/"))
    assert (status["state"], status["error"]) == ("FAILURE", f"HTTP {code}")
    assert status["retryable"] is False
    assert len(httpserver.log) == 1


def test_the_pause_that_a_service_asks_for_is_kept(app, httpserver):
    """The task is given back to the broker with it."""
    httpserver.expect_request("/").respond_with_data("", 429, headers={"Retry-After": "100"})
    with app.app_context(), pytest.raises(Retry) as raised:
        attempt(call_external_api, endpoint=httpserver.url_for("/"), payload={})
    assert 100 <= raised.value.when <= 110


def test_without_such_a_pause_it_grows_by_chance(app, httpserver, monkeypatch):
    httpserver.expect_request("/").respond_with_data("", 503)
    bounds = []
    monkeypatch.setattr("random.randrange", lambda bound: bounds.append(bound) or 0)
    with app.app_context():
        for retries in range(5):
            with pytest.raises(Retry):
                attempt(call_external_api, retries, endpoint=httpserver.url_for("/"), payload={})
    assert bounds == [3, 5, 9, 17, 33]


def attempt(task, retries=0, **kwargs):
    """Run one attempt as a worker does, with the retry that it asks for raised."""
    task.push_request(id="1", retries=retries, is_eager=True, called_directly=False, kwargs=kwargs)
    try:
        return task.run(**kwargs)
    finally:
        task.pop_request()


def test_the_tries_are_as_promised():
    assert call_external_api.max_retries == 5
    assert call_external_api.retry_backoff_max == 600
    assert external.TIMEOUT == 30
    assert external.TIMEOUT < call_external_api.soft_time_limit < call_external_api.time_limit


@pytest.mark.parametrize(
    ("chance", "asked", "waited"),
    [(0, 0, 0), (0, 30, 30), (1, 30, 33), (0, 1e9, 600), (1, 590, 600)],
)
def test_a_pause_is_at_least_what_was_asked_for_and_at_most_ten_minutes(chance, asked, waited):
    assert external.pause(chance, asked) == pytest.approx(waited)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_these_may_do_later(status):
    with pytest.raises(UnavailableError) as raised:
        external.raise_for(answer(status, retry_after=3))
    assert (raised.value.status, raised.value.retry_after) == (status, 3)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_these_are_fine(status):
    external.raise_for(answer(status))


@pytest.mark.parametrize(
    ("body", "encoding", "value"),
    [
        (b"", "utf-8", None),
        (b"null", "utf-8", None),
        (b'{"a": [1.5]}', "utf-8", {"a": [1.5]}),
        (b"plain", "utf-8", "plain"),
        ("\u00fc".encode("latin-1"), "latin-1", "\u00fc"),
        (b"\xff", "utf-8", "\ufffd"),
        (b"x", "no-such-encoding", "x"),
        (b"NaN", "utf-8", "NaN"),
        (b"9" * 5000, "utf-8", "9" * 5000),
        (b"[" * 60 + b"]" * 60, "utf-8", "[" * 60 + "]" * 60),
        (b"[" * 60_000, "utf-8", "[" * 60_000),
        (b"[1e999]", "utf-8", "[1e999]"),
    ],
    ids=lambda each: repr(each)[:20],
)
def test_any_answer_is_a_result_that_can_be_kept(body, encoding, value):
    """As JSON, which has no NaN and no depth without end."""
    kept = external.data(answer(body=body, encoding=encoding))
    assert kept == value
    json.dumps(kept, allow_nan=False)


def test_an_answer_too_long_to_keep_fails():
    with pytest.raises(JobFailedError, match="longer than 3 bytes"):
        external.data(answer(body=b"abc", complete=False))


def test_a_task_may_not_run_into_a_redelivery():
    from app import queues

    assert external.LONGEST_PAUSE * 1.1 <= queues.LONGEST_WAIT
    assert webhooks.LONGEST_PAUSE <= queues.LONGEST_WAIT
