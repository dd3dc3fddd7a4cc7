"""Secrets are masked by their name and by their look, wherever they are; the rest stays."""

from __future__ import annotations

import json
import logging
import time
import uuid
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from followthrough import redact
from followthrough.alerts.alert import new_alert, to_json
from followthrough.testing import Captured
from tests.support.secrets import ALL, BY_LOOK

KINDS = pytest.mark.parametrize("kind", ALL)
TEXTS = [each for _, each in ALL.values()]


@KINDS
def test_a_secret_in_a_text_is_masked_and_what_surrounds_it_stays(kind: str) -> None:
    secret, text = ALL[kind]
    masked = redact.text(text)
    assert secret not in masked
    assert redact.MASK in masked
    assert masked[:3] in (text[:3], "***")
    assert redact.text(masked) == masked


@KINDS
@pytest.mark.parametrize("around", ["{}", "x" * 100 + " {}", "a\n{}\nb", "({})"])
def test_a_secret_is_masked_wherever_it_stands(kind: str, around: str) -> None:
    secret, text = ALL[kind]
    assert secret not in redact.text(around.format(text))


@KINDS
def test_a_secret_comes_out_of_no_log_line(told: Captured, kind: str) -> None:
    secret, text = ALL[kind]
    log = structlog.get_logger("x")
    log.info(text, value=text, nested={"a": [text, {"b": text}], "pair": ("x", text)}, **{text: 1})
    log.error("failed", exc_info=ValueError(text), args=(text,), kwargs={"note": text})
    try:
        raise RuntimeError(text) from ValueError(text)  # noqa: TRY301  its own frame
    except RuntimeError:
        logging.getLogger("x").exception("failed with %s", text, extra={"value": text})
    assert secret not in json.dumps(told.lines, ensure_ascii=False).replace("\\n", "\n")
    assert len(told.lines) == 3


@KINDS
def test_a_secret_comes_out_of_no_alert(kind: str) -> None:
    secret, text = ALL[kind]
    alert = new_alert(task="t", task_id="1", outcome="failure", message=text)
    assert secret not in to_json(alert).decode().replace("\\n", "\n")


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "dbPassword",
        "PASSWORD",
        "userpassword",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "client_secret",
        "secret_id",
        "api_key",
        "apikey",
        "X-Api-Key",
        "access_token",
        "refreshToken",
        "token",
        "id_token",
        "authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "session",
        "session_id",
        "sessionid",
        "JSESSIONID",
        "sid",
        "private_key",
        "credentials",
        "csrf_token",
        "xsrf",
        "otp",
        "cvv",
        "pin",
        "ssn",
        "auth",
        "basic_auth",
        "signature",
        "aws_secret_access_key",
        "AccountKey",
        "code_verifier",
        "SAMLResponse",
        "card_number",
        "jwt",
    ],
)
def test_what_a_name_calls_secret_is_masked(name: str) -> None:
    assert redact.fields({name: "x", "nested": {name: ["x"]}}) == {
        name: redact.MASK,
        "nested": {name: redact.MASK},
    }
    assert "xyz" not in redact.text(f"{name}=xyz")


@pytest.mark.parametrize(
    "name",
    [
        "author",
        "authority",
        "monkey",
        "keyboard",
        "compass",
        "passenger",
        "bypass",
        "tokenizer",
        "token_type",
        "token_count",
        "secretary",
        "password_changed_at",
        "secret_name",
        "cookie_policy",
        "key",
        "keys",
        "primary_key",
        "user_id",
        "task_id",
        "session_count",
        "pinned",
        "spinning",
        "assess",
        "assigned",
        "design",
        "signal",
        "path",
        "cardinality",
        "hotpot",
        "opinion",
        "token_url",
        "description",
        "obsidian",
        "authenticated",
    ],
)
def test_other_names_mask_nothing(name: str) -> None:
    assert redact.fields({name: "x"}) == {name: "x"}
    assert redact.text(f"{name}=xyz, then") == f"{name}=xyz, then"


@pytest.mark.parametrize(
    "text",
    [
        "plain text",
        "http://host/path?a=1",
        "a: b",
        "x=1",
        "12:30",
        str(uuid.UUID(int=2**127 + 12345)),
        "d41d8cd98f00b204e9800998ecf8427e",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "2026-11-25T20:06:06.123456+00:00",
        "1764100000000000000",
        "1764100000123",
        "4111111111111112",
        "order 400000000000 of 3",
        "task-1234567890123456789012",
        "risk-assessment-of-the-year",
        "max_tokens: 4096, tokens=17",
        "password=None",
        "token: null",
        "KeyError: 'password'",
        "basic authentication failed",
        "bearer of bad news",
        "redis://localhost:6379/0",
        "http://[::1]:8080/x@y",
        "mail to bob@example.com",
        "msg_0123456789abcdef0123456789abcdef",
        "celery@host-1.example.com",
        "Retry in 180s: ConnectionError(111, 'Connection refused')",
        "gunicorn 27.0.1 on 0.0.0.0:8000 (pid 12345)",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "+49 30 1234567890",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ],
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert redact.text(text) == text
    assert redact.text(text + " " * 100) == text + " " * 100


def test_fields_are_masked_by_name_at_any_depth() -> None:
    fields = {"token": "t", "user": {"password": "p", "list": [{"api_key": "k"}]}, "n": 1}
    expected = {
        "token": redact.MASK,
        "user": {"password": redact.MASK, "list": [{"api_key": redact.MASK}]},
        "n": 1,
    }
    assert redact.fields(fields) == expected


def test_pairs_of_names_and_values_are_masked() -> None:
    headers = [("Accept", "*/*"), ("Authorization", "anything"), ["X-Api-Key", "anything"]]
    assert "anything" not in json.dumps(redact.fields({"headers": headers}))


def test_numbers_are_masked_where_they_are_secrets() -> None:
    fields = {"pin": 1234, "n": 4111111111111111, "tokens": 17, "ns": 1764100000000000000}
    masked = {"pin": redact.MASK, "n": redact.MASK, "tokens": 17, "ns": 1764100000000000000}
    assert redact.fields(fields) == masked


def test_a_single_value_is_masked_by_its_name_and_its_look() -> None:
    assert redact.value_of("password", "x") == redact.MASK
    assert redact.value_of("url.full", "http://a:hunter2@b") == f"http://a:{redact.MASK}@b"
    assert redact.value_of("http.route", "/token=x") == "/token=x"


class Shown:
    def __repr__(self) -> str:
        return "Shown(password='hunter2')"


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value", [Shown(), Text("password=hunter2"), b"password=hunter2", [Shown()]]
)
def test_values_of_other_types_are_masked_as_they_are_shown(value: object) -> None:
    assert "hunter2" not in json.dumps(redact.fields({"value": value}))


def test_nesting_without_end_is_cut() -> None:
    loop: dict[str, object] = {}
    loop["self"] = loop
    assert json.dumps(redact.fields(loop)).count("self") == redact.DEPTH + 1
    assert redact.CUT in json.dumps(redact.fields(loop))


def test_wide_values_are_cut() -> None:
    wide = {"a": [list(range(1000))] * 1000, "b": {str(n): n for n in range(5000)}}
    assert len(json.dumps(redact.fields(wide))) < 20_000


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "password=" * 100_000,
        "--" * 500_000,
        "://" * 300_000,
        "1 " * 500_000,
        "'" * 1_000_000,
        "\\" * 1_000_000,
        "cookie:" + " " * 1_000_000,
        "eyJaaaaaa." * 100_000,
        "-----BEGIN PRIVATE KEY-----" * 40_000,
        "<token>" * 100_000,
        "'token','" * 100_000,
        "token='" * 100_000,
        "bearer " * 150_000,
        "a-" * 500_000,
        "4111" * 250_000,
        "sk-" * 300_000,
    ],
    ids=range(17),
)
def test_a_huge_text_is_masked_in_no_time_and_cut(text: str) -> None:
    before = time.process_time()
    masked = redact.text(text)
    assert time.process_time() - before < 0.5
    assert len(masked) <= redact.LIMIT


def test_a_text_is_cut_at_a_words_end_so_that_no_half_secret_stays() -> None:
    secret, text = BY_LOOK["github token"]
    masked = redact.text("x " * ((redact.LIMIT - 30) // 2) + text)
    assert secret[:8] not in masked
    assert masked.endswith(redact.CUT)


parts = st.sampled_from(
    [*TEXTS, *"'\"=:,;<>/\\@-{}()* \n\0", "password", "token", "--", "://", "x"]
)
texts = st.lists(parts | st.text(max_size=20), max_size=12).map("".join)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(texts)
def test_any_text_is_masked_once_and_for_all(text: str) -> None:
    once = redact.text(text)
    assert redact.text(once) == once
    assert len(once) <= max(redact.LIMIT, len(text) * 5)


@given(st.dictionaries(texts, values, max_size=4))
def test_any_fields_can_be_masked_and_written(fields: dict[str, Any]) -> None:
    json.dumps(redact.fields(fields))


def test_the_list_of_kinds_is_long() -> None:
    assert len(ALL) >= 50
