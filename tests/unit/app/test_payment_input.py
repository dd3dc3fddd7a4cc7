"""What is asked to be paid is exact and within bounds, or refused by its field's name."""

from __future__ import annotations

import json

import pytest

from app.services.payments.sandbox import Sandbox
from tests.support.payments import ORDER, URL, fields


def test_a_missing_field_is_named(eager):
    assert fields(eager.post(URL, json={})) == ["order_id", "amount"]


OTHER_TYPES = (None, True, [], {})
WRONG = {
    "order_id": (*OTHER_TYPES, 1, "", "a b", "a" * 65, "../a", "-a", "ä", "a\n", "a\x00", "\ud800"),
    "currency": (*OTHER_TYPES, 1, "", "usd", "XXX", "USDD", "\ud800"),
    "payment_method": (*OTHER_TYPES, 1),
    "amount": (
        *OTHER_TYPES,
        *("", "abc", "-1", "+1", " 1", "1e2", "1_0", "٣", "1.", ".1", "NaN", "Infinity"),
        *(0, -1, "0.00", "12.345", 12.345, "1" * 15, 10**14, 10**4000, "0." + "0" * 5000 + "1"),
    ),
    "extra": (1,),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_is_named(eager, field):
    """And no payment is begun."""
    for value in WRONG[field]:
        assert fields(eager.post(URL, json={**ORDER, field: value})) == [field], value
    assert eager.get("/api/payments/A-1").status_code == 404


def with_number(written, **changes):
    """The order as JSON whose amount is a number, written like this."""
    raw = json.dumps({**ORDER, **changes, "amount": 0}).replace(
        '"amount": 0', f'"amount": {written}'
    )
    return {"data": raw, "content_type": "application/json"}


def test_no_number_makes_the_service_fail(eager):
    for written in ("NaN", "-Infinity", "1e99999999999999999999", "1e400", "1e-400", "-0.0"):
        assert eager.post(URL, **with_number(written)).status_code == 400, written


def test_an_unknown_method_is_told_the_valid_ones(eager):
    for method in ("", "cash", "\ud800"):
        answer = eager.post(URL, json={**ORDER, "payment_method": method})
        assert fields(answer, 422) == ["payment_method"]
        assert all(name in answer.get_json()["detail"] for name in Sandbox.methods)
    assert eager.get("/api/payments/A-1").status_code == 404


def test_an_unknown_order_is_not_found(eager):
    for order_id in ("none", "%00", "a%0Ab", "a" * 256, "%FF", "%ED%A0%80"):
        assert eager.get(f"/api/payments/{order_id}").status_code == 404, order_id


def test_a_number_keeps_each_digit(eager):
    """Also those that a float has no room for."""
    written = {
        ("0.1", "USD"): "0.10",
        ("99999999999999.99", "USD"): "99999999999999.99",
        ("90071992547409.93", "EUR"): "90071992547409.93",
        ("1.5e1", "USD"): "15.00",
        ("1e2", "JPY"): "100",
        ("0.001", "KWD"): "0.001",
        ("0.0001", "CLF"): "0.0001",
        ("12.500000", "USD"): "12.50",
    }
    for number, ((amount, currency), kept) in enumerate(written.items()):
        order = with_number(amount, currency=currency, order_id=f"A-{number}")
        assert eager.post(URL, **order).status_code == 202, amount
        assert eager.get(f"/api/payments/A-{number}").get_json()["amount"] == kept


def test_the_currency_decides_on_the_digits(eager):
    assert fields(eager.post(URL, json={**ORDER, "currency": "JPY"})) == ["amount"]
