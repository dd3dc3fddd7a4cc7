"""Sessions: begun, found by their token, ended, and cleared away when they have expired."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from app import db
from app.models import SessionRecord
from app.services import sessions

ROUTE = "/api/sessions"
CURRENT = "/api/sessions/current"
HOUR = timedelta(hours=1)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def rows():
    with db.session() as session:
        return session.scalar(select(func.count()).select_from(SessionRecord))


@pytest.fixture
def app(make_app):
    app = make_app()
    with app.app_context():
        yield app


def test_a_session_is_begun_found_and_ended(client):
    begun = client.post(ROUTE, json={"subject": "ada", "lifetime": 60, "data": {"theme": "dark"}})
    assert begun.status_code == 201
    assert begun.headers["Cache-Control"] == "no-store"
    token = begun.json.pop("token")
    found = client.get(CURRENT, headers=bearer(token))
    assert found.json == {key: begun.json[key] for key in begun.json if key != "token"}
    assert (found.json["subject"], found.json["data"]) == ("ada", {"theme": "dark"})
    begin, end = (datetime.fromisoformat(found.json[key]) for key in ("created_at", "expires_at"))
    assert end - begin == timedelta(seconds=60)
    assert client.delete(CURRENT, headers=bearer(token)).json == {"status": "ended"}
    assert client.get(CURRENT, headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("method", ["get", "delete"])
@pytest.mark.parametrize(
    "headers",
    [{}, bearer("wrong"), bearer(""), bearer("x" * 5000), {"Authorization": "Basic YTpi"}],
    ids=["none", "wrong", "empty", "long", "basic"],
)
def test_without_a_token_of_a_session_nothing_is_told(client, method, headers):
    client.post(ROUTE, json={"subject": "ada"})
    answer = getattr(client, method)(CURRENT, headers=headers)
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].lower().startswith("bearer")
    assert "Authorization: Bearer" in answer.json["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subject", 1),
        ("subject", ""),
        ("subject", " "),
        ("subject", "a\nb"),
        ("subject", "a\0"),
        ("subject", "\ud800"),
        ("subject", "x" * 256),
        ("lifetime", 59),
        ("lifetime", 30 * 86400 + 1),
        ("lifetime", 10**400),
        ("lifetime", 60.5),
        ("lifetime", True),
        ("lifetime", "60"),
        ("data", []),
        ("data", {"a": "x" * 5000}),
        ("data", {"a": 1e400}),
        ("user", "ada"),
    ],
)
def test_a_wrong_field_is_named(client, field, value):
    # Python's own json writes 1e400 as Infinity.
    raw = json.dumps({"subject": "ada", field: value}).replace("Infinity", "1e400")
    answer = client.post(ROUTE, data=raw, content_type="application/json")
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json["errors"]] == [field]
    with client.application.app_context():
        assert rows() == 0


def test_a_subject_is_needed(client):
    answer = client.post(ROUTE, json={})
    assert [each["field"] for each in answer.json["errors"]] == ["subject"]


def test_the_table_alone_opens_no_session(app):
    """It holds a hash: who reads the table can't act as anybody."""
    token, _ = sessions.create("ada", HOUR, {})
    with db.session() as session:
        kept = session.scalar(select(SessionRecord.id))
    assert token not in kept
    assert sessions.find(kept) is None
    assert sessions.find(token).subject == "ada"


def test_what_has_expired_is_deleted_in_batches(app, monkeypatch):
    monkeypatch.setattr(sessions, "BATCH", 2)
    token, _ = sessions.create("ada", HOUR, {})
    expired = [sessions.create("old", -HOUR, {})[0] for _ in range(5)]
    assert [sessions.find(each) for each in expired] == [None] * 5
    assert sessions.delete_expired() == 5
    assert sessions.delete_expired() == 0
    assert sessions.find(token).expires_at > datetime.now(UTC)
