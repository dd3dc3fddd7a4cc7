"""Secrets are masked by their name and by their look, wherever they are."""

from __future__ import annotations

import json
import time

import pytest

from followthrough import redact


@pytest.mark.parametrize(
    "text",
    [
        "redis://user:hunter2@host:6379/0",
        "amqp://:hunter2@host",
        "Authorization: Bearer hunter2hunter2",
        "password=hunter2 and more",
        '{"api_key": "hunter2", "x": 1}',
        "db_password: hunter2",
        "client-secret='hunter2'",
    ],
)
def test_a_secret_in_a_text_is_masked(text: str) -> None:
    masked = redact.text(text)
    assert "hunter2" not in masked
    assert redact.MASK in masked


@pytest.mark.parametrize("text", ["plain text", "http://host/path?a=1", "a: b", "x=1", "12:30"])
def test_other_texts_are_left_alone(text: str) -> None:
    assert redact.text(text) == text


def test_fields_are_masked_by_name_at_any_depth() -> None:
    fields = {"token": "t", "user": {"password": "p", "list": [{"api_key": "k"}]}, "n": 1}
    expected = {
        "token": redact.MASK,
        "user": {"password": redact.MASK, "list": [{"api_key": redact.MASK}]},
        "n": 1,
    }
    assert redact.fields(fields) == expected


def test_nesting_without_end_is_cut() -> None:
    loop: dict[str, object] = {}
    loop["self"] = loop
    assert json.dumps(redact.fields(loop)).count("self") == redact.DEPTH + 1
    assert redact.CUT in json.dumps(redact.fields(loop))


def test_a_long_text_is_masked_in_no_time() -> None:
    before = time.perf_counter()
    redact.text("a" * 100_000)
    assert time.perf_counter() - before < 1
