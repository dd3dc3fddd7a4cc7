"""Standard Webhooks messages: their body, their signature and when to try again."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.services import http_client
from app.services.http_client import Answer, Call, RefusedError, UnavailableError
from followthrough.alerts.notifiers.webhook import parse_secret, sign

if TYPE_CHECKING:
    from app.settings import Settings

TIMEOUT = 10.0  # seconds for a whole delivery
FIRST_PAUSE = 60  # seconds, doubled for each further one
LONGEST_PAUSE = 3600  # seconds that a receiver may ask for
GONE = 410


@dataclass(frozen=True)
class Webhook:
    """One message; its id stays the same when it is sent again."""

    task_id: str
    url: str
    data: dict[str, Any]
    event: str | None = None

    @property
    def id(self) -> str:
        return f"msg_{self.task_id}"


def post(webhook: Webhook, created: datetime, settings: Settings, attempt: int = 0) -> int:
    """Deliver a message once; gives the status code.

    Raises RefusedError if no later try will do, else UnavailableError.
    """
    message = body(webhook, created)
    signed = headers(webhook.id, message, settings.webhook_secret or "", int(time.time()))
    call = Call("POST", webhook.url, TIMEOUT, message, signed, attempt, limit=0)
    answer = http_client.send(call, settings)
    raise_for(answer)
    return answer.status


def body(webhook: Webhook, created: datetime) -> bytes:
    """The data as it is; of a named event in the envelope that Standard Webhooks recommends."""
    message: dict[str, Any] = webhook.data
    if webhook.event is not None:
        message = {"type": webhook.event, "timestamp": _utc(created), "data": webhook.data}
    return json.dumps(message, separators=(",", ":")).encode()


def _utc(moment: datetime) -> str:
    # SQLite gives back UTC without saying so, PostgreSQL the same moment in a zone of its own.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat()


def headers(message_id: str, message: bytes, secret: str, now: int) -> dict[str, str]:
    """The headers of a message, signed with each key of `secret`; `now` in unix seconds."""
    made = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
    }
    if keys := parse_secret(secret):
        signatures = [sign(key, message_id, now, message) for key in keys]
        made["webhook-signature"] = " ".join(signatures)
    return made


def raise_for(answer: Answer) -> None:
    """Raise unless the message was taken; a receiver in trouble may answer with any status."""
    if 200 <= answer.status < 300:  # noqa: PLR2004
        return
    if answer.status == GONE:
        raise RefusedError("HTTP 410: the receiver wants no more messages.", answer.status)
    raise UnavailableError(f"HTTP {answer.status}", answer.status, answer.retry_after)


def pause(retries: int, retry_after: float | None = None) -> float:
    """Seconds until the next try, after `retries` of them; longer if the receiver asks for it."""
    return max(FIRST_PAUSE * 2**retries, min(retry_after or 0, LONGEST_PAUSE))
