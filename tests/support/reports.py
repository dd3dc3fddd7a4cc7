"""Rows that reports are made of, and their sums."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from app import db
from app.models import Dataset, Payment, WebhookDelivery

NOVEMBER = {"from": "2026-11-01", "to": "2026-11-30"}
# Order, amount, currency, status, day and time.
PAYMENTS = (
    ("A-1", "0.10", "USD", "completed", "2026-11-01T00:00:00"),
    ("A-2", "0.20", "USD", "completed", "2026-11-23T10:00:00"),
    ("A-3", "99999999999999.99", "USD", "declined", "2026-11-23T11:00:00"),
    ("A-4", "1200", "JPY", "completed", "2026-11-30T23:59:59.999999"),
    ("B-1", "5.00", "USD", "completed", "2026-10-31T23:59:59.999999"),
    ("B-2", "7.00", "USD", "completed", "2026-12-01T00:00:00"),
)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def payment(order_id, amount, currency="USD", status="completed", at="2026-11-23T10:00:00"):
    return Payment(
        order_id=order_id,
        amount=Decimal(amount),
        currency=currency,
        method="success",
        status=status,
        task_id="t",
        created_at=moment(at),
    )


def dataset(name, rows, bad, at="2026-11-23T10:00:00", status="completed"):
    return Dataset(
        name=name,
        path=name,
        sha256=name[:64],
        encoding="utf-8",
        delimiter=",",
        columns=["a"],
        status=status,
        total_rows=rows,
        bad_rows=bad,
        byte_offset=0,
        line=0,
        created_at=moment(at),
        updated_at=moment(at),
    )


def delivery(name, state, code, attempts=1, at="2026-11-23T10:00:00", url="https://example.com/"):
    return WebhookDelivery(
        id=name,
        url=url,
        event="order.paid",
        status_code=code,
        attempts=attempts,
        state=state,
        task_id="t",
        created_at=moment(at),
        updated_at=moment(at),
    )


def fill() -> None:
    """Rows in November 2026, and some just outside of it."""
    rows = [payment(*each) for each in PAYMENTS]
    rows += [dataset("one.csv", 1000, 1), dataset("two.csv", 234, 3, status="importing")]
    rows += [dataset("late.csv", 5, 0, "2026-12-01T00:00:00")]
    rows += [delivery("1", "delivered", 204), delivery("2", "failed", None, 4)]
    add(rows)


def add(rows) -> None:
    with db.session() as session:
        session.add_all(rows)
