"""What became of each webhook: one row a message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.services import addresses
from app.services.http_client import UnavailableError
from app.services.webhooks import Webhook

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"


@dataclass(frozen=True)
class Delivery:
    """What is known before a try."""

    created: datetime
    delivered: bool
    status_code: int | None


def begin(webhook: Webhook) -> Delivery:
    """Count a try of a message that isn't delivered yet; UnavailableError without a database."""
    from app.models import WebhookDelivery  # noqa: PLC0415  the pool process alone loads SQLAlchemy

    with _session() as session:
        row = session.get(WebhookDelivery, webhook.id)
        if row is None:
            row = WebhookDelivery(**_new(webhook))
            session.add(row)
        delivered = row.state == DELIVERED
        if not delivered:
            row.attempts += 1
            row.updated_at = datetime.now(UTC)
        return Delivery(row.created_at, delivered, row.status_code)


def end(webhook: Webhook, state: str, status_code: int | None) -> None:
    """Keep how a try ended; UnavailableError without a database."""
    from app.models import WebhookDelivery  # noqa: PLC0415

    with _session() as session:
        row = session.get_one(WebhookDelivery, webhook.id)
        row.state, row.status_code, row.updated_at = state, status_code, datetime.now(UTC)


def forget(before: datetime) -> None:
    """Delete what became of messages that weren't tried since `before`."""
    from sqlalchemy import delete  # noqa: PLC0415

    from app import patience  # noqa: PLC0415
    from app.models import WebhookDelivery as Row  # noqa: PLC0415

    # The first condition follows from the second, and has an index.
    old = Row.created_at < before, Row.updated_at < before
    with patience.endless(), _session() as session:
        session.execute(delete(Row).where(*old).execution_options(synchronize_session=False))


def _new(webhook: Webhook) -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "id": webhook.id,
        "url": addresses.bare(addresses.parsed(webhook.url)),
        "event": webhook.event,
        "attempts": 0,
        "state": PENDING,
        "task_id": webhook.task_id,
        "created_at": now,
        "updated_at": now,
    }


@contextmanager
def _session() -> Iterator[Session]:
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError  # noqa: PLC0415

    from app import db  # noqa: PLC0415

    try:
        with db.session() as session:
            yield session
    except (OperationalError, PoolTimeoutError) as error:
        raise UnavailableError("The database does not answer.") from error
