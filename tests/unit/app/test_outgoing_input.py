"""What callers may ask the service to call: anything else is named and not published."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import func, select

from app import db, settings
from app.models import TaskRecord

ROUTES = {
    "/api/call-external-api": {"endpoint": "https://example.com/", "payload": {}},
    "/api/send-webhook": {"url": "https://example.com/", "event_data": {}, "event": "a.b"},
}
FIELDS = [(route, field) for route, body in ROUTES.items() for field in body]
ADDRESSES = [("/api/call-external-api", "endpoint"), ("/api/send-webhook", "url")]
DOCUMENTS = [("/api/call-external-api", "payload"), ("/api/send-webhook", "event_data")]


@pytest.fixture
def refused(make_app):
    app = make_app()

    def refused(route, changes=None, raw=None):
        """The names of the wrong fields; nothing was published."""
        raw = raw or json.dumps({**ROUTES[route], **changes})
        answer = app.test_client().post(route, data=raw, content_type="application/json")
        assert answer.status_code == 400, answer.get_json()
        assert answer.mimetype == "application/problem+json"
        with app.app_context(), db.session() as session:
            assert session.scalar(select(func.count()).select_from(TaskRecord)) == 0
        return [each["field"].split(".")[0] for each in answer.get_json()["errors"]]

    return refused


@pytest.mark.parametrize(("route", "field"), FIELDS)
def test_a_field_of_another_type_is_named(refused, route, field):
    for value in (1, True, [], "", "\ud800"):
        assert set(refused(route, {field: value})) == {field}


@pytest.mark.parametrize("route", ROUTES)
def test_missing_and_unknown_fields_are_named(refused, route):
    required = [field for field in ROUTES[route] if field != "event"]
    assert refused(route, raw="{}") == required
    assert refused(route, {"headers": {}}) == ["headers"]


@pytest.mark.parametrize(("route", "field"), ADDRESSES)
def test_an_address_that_may_not_be_called_is_named(refused, route, field):
    for url in (
        "ftp://example.com/",
        "file:///etc/passwd",
        "example.com",
        "http://",
        "http://example.com:0/",
        "http://a b/",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "https://example.com/" + "a" * 2048,
    ):
        assert refused(route, {field: url}) == [field], url


@pytest.mark.parametrize(("route", "field"), DOCUMENTS)
def test_data_that_can_not_be_sent_is_named(refused, route, field):
    def with_value(text):
        return json.dumps({**ROUTES[route], field: {"a": 0}}).replace('"a": 0', f'"a": {text}')

    assert refused(route, raw=with_value("1e999")) == [field]
    assert refused(route, raw=with_value("[" * 60 + "]" * 60)) == [field]


def test_an_event_is_one_word(refused):
    for event in ("a b", "a\n", "a/b", "a" * 256):
        assert refused("/api/send-webhook", {"event": event}) == ["event"]


def test_a_private_address_is_refused_unless_it_is_allowed(make_app):
    app = make_app(OUTGOING_ALLOWED="10.0.0.0/8")
    body = {"endpoint": "http://127.0.0.1:6379/", "payload": {}}
    answer = app.test_client().post("/api/call-external-api", json=body)
    assert answer.status_code == 400
    assert "Private" in answer.get_json()["error"]


def test_only_production_allows_nothing_private():
    production = settings.load({"APP_ENV": "production", "SECRET_KEY": "a" * 40})
    assert production.outgoing_allowed == ()
    assert "127.0.0.0/8" in settings.load({}).outgoing_allowed


@pytest.mark.parametrize(
    ("env", "value"),
    [
        ("OUTGOING_ALLOWED", "10.0.0.0/99"),
        ("OUTGOING_CA_FILE", "/no/such/file"),
        ("WEBHOOK_SECRET", "whsec_short"),
    ],
)
def test_a_setting_that_can_not_be_used_is_named(env, value):
    with pytest.raises(settings.SettingsError, match=f"^{env}: "):
        settings.load({env: value})
