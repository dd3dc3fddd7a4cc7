"""Whatever a caller sends is answered with a problem document that names what is wrong."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MAIL = {"recipient": "ada@example.com", "subject": "Hello", "body": "Text."}
URL = "/api/send-email"


def refused(response, status):
    """A problem document with this status and the member `error`; gives it."""
    document = response.get_json()
    assert response.status_code == status, document
    assert response.mimetype == "application/problem+json"
    assert document["status"] == status
    assert document["error"] == document["detail"] != ""
    assert document["title"]
    assert document["instance"] == quote(response.request.path)
    return document


def fields(response):
    return [each["field"] for each in refused(response, 400)["errors"]]


def test_every_missing_field_is_named(client):
    assert fields(client.post(URL, json={})) == ["recipient", "subject", "body"]


def test_an_unknown_field_is_named(client):
    assert fields(client.post(URL, json={**MAIL, "queue": "other"})) == ["queue"]


@pytest.mark.parametrize("value", [None, 1, True, [], {}, ["a@example.com"], ""])
@pytest.mark.parametrize("field", MAIL)
def test_a_field_of_another_type_is_named(client, field, value):
    assert fields(client.post(URL, json={**MAIL, field: value})) == [field]


@pytest.mark.parametrize(
    "address",
    [
        "nobody",
        "@example.com",
        "a@",
        "a@b",
        "a b@example.com",
        "Ada <ada@example.com>",
        "a@example.com, b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        "a@example.com\n",
        "a@exa\x00mple.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 250 + ".com",
        "a@example..com",
        "a@[127.0.0.1]",
    ],
)
def test_an_invalid_address_is_refused(client, address):
    assert fields(client.post(URL, json={**MAIL, "recipient": address})) == ["recipient"]


@pytest.mark.parametrize("text", ["a\r\nBcc: b@example.com", "a\nb", "a\rb", "a\x00b", "a\u2028b"])
def test_a_subject_of_several_lines_is_refused(client, text):
    """A line break would smuggle in another header."""
    assert fields(client.post(URL, json={**MAIL, "subject": text})) == ["subject"]


def test_a_subject_longer_than_a_mail_line_is_refused(client):
    assert fields(client.post(URL, json={**MAIL, "subject": "a" * 999})) == ["subject"]


@pytest.mark.parametrize("field", MAIL)
def test_half_a_surrogate_pair_is_refused(client, field):
    """JSON can spell text that no encoding can write."""
    raw = json.dumps({**MAIL, field: "\ud800"})
    assert fields(client.post(URL, data=raw, content_type="application/json")) == [field]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"recipient=a@example.com",
        b'{"recipient": NaN}',
        b'{"recipient": -Infinity}',
        b'{"recipient": "a@example.com", "recipient": "b@example.com"}',
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"subject": ' + b"9" * 5_000 + b"}",
        b"null",
        b"[]",
        b'"text"',
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_no_json_object_is_refused(client, raw):
    refused(client.post(URL, data=raw, content_type="application/json"), 400)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(client, content_type):
    refused(client.post(URL, data=json.dumps(MAIL), content_type=content_type), 415)


def test_a_body_over_the_limit_is_refused(client):
    refused(client.post(URL, json={**MAIL, "body": "a" * 1024**2}), 413)


def test_the_limit_is_a_setting(make_app):
    client = make_app(MAX_CONTENT_LENGTH="200").test_client()
    refused(client.post(URL, json={**MAIL, "body": "a" * 200}), 413)


def test_another_method_names_the_allowed_ones(client):
    response = client.delete(URL)
    refused(response, 405)
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


@pytest.mark.parametrize("path", ["/", "/api/none", "/api/task-status/", "/api/task-status/a/b"])
def test_an_unknown_path_is_a_problem_document(client, path):
    refused(client.get(path), 404)


@pytest.mark.parametrize("task_id", ["none", "%00", "a%0Ab", "a" * 256, "%FF", "%ED%A0%80", "'--"])
def test_an_unknown_task_id_is_not_found(client, task_id):
    """It isn't pending for ever, and no id makes the database fail."""
    refused(client.get(f"/api/task-status/{task_id}"), 404)


def test_an_error_in_the_service_tells_nothing_of_its_inside(make_app):
    app = make_app()

    @app.get("/broken")
    def broken():
        raise RuntimeError("the secret")

    document = refused(app.test_client().get("/broken"), 500)
    assert "secret" not in json.dumps(document)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(document=st.fixed_dictionaries({}, optional=dict.fromkeys(MAIL, ANY_JSON)) | ANY_JSON)
def test_no_document_makes_the_service_fail(client, document):
    """Any JSON is either taken or refused by name; none is a 5xx."""
    response = client.post(URL, data=json.dumps(document), content_type="application/json")
    assert response.status_code in {202, 400}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(raw=st.binary(max_size=200))
def test_no_bytes_make_the_service_fail(client, raw):
    response = client.post(URL, data=raw, content_type="application/json")
    assert response.status_code == 400
