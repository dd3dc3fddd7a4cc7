"""A gateway that takes charges over HTTP: JSON by POST, with the header Idempotency-Key."""

from __future__ import annotations

import json
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.services import http_client
from app.services.http_client import Answer, Call
from app.services.payments import DeclinedError, RejectedError, Terms, TransientError

if TYPE_CHECKING:
    from app.settings import Settings

TIMEOUT = 25.0  # seconds for a whole charge
LONGEST_TEXT = 255  # characters of what is kept of it

# Beside 5xx: the same request may be taken later.
AGAIN = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,  # as gateways say while the first request with this key runs
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


class HttpGateway:
    def __init__(self, settings: Settings) -> None:
        self.methods = settings.payment_methods
        self._url = settings.payment_gateway_url or ""
        self._token = settings.payment_gateway_token
        # The operator has named it, so it may be anywhere.
        host = urlsplit(self._url).hostname or ""
        self._settings = replace(settings, outgoing_allowed=(*settings.outgoing_allowed, host))

    def charge(self, terms: Terms) -> str:
        answer = self._post(terms)
        return transaction(answer.status, answer.body)

    def _post(self, terms: Terms) -> Answer:
        body = json.dumps(_document(terms)).encode()
        call = Call("POST", self._url, TIMEOUT, body, self._headers(terms.order_id))
        try:
            return http_client.send(call, self._settings)
        except http_client.UnavailableError as error:
            raise TransientError(f"The gateway gave no answer: {error}.") from error
        except http_client.RefusedError as error:
            raise RejectedError(f"The gateway can't be called: {error}") from error

    def _headers(self, key: str) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


def _document(terms: Terms) -> dict[str, str]:
    return {
        "order_id": terms.order_id,
        "amount": str(terms.amount),
        "currency": terms.currency,
        "payment_method": terms.method,
    }


def transaction(status: int, raw: bytes) -> str:
    """What an answer means: the transaction's id, or one of the three errors."""
    if status in AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientError(f"The gateway answered {status}.")
    document = _members(raw)
    if status == HTTPStatus.PAYMENT_REQUIRED:
        raise DeclinedError(_reason(document) or "The payment was declined.")
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise RejectedError(f"The gateway answered {status}. {_reason(document)}".strip())
    identity = document.get("transaction_id")
    if not isinstance(identity, str) or not 0 < len(identity) <= LONGEST_TEXT:
        # It may have been charged: the same key again brings the missing answer.
        raise TransientError("The gateway's answer has no transaction_id.")
    return identity


def _members(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _reason(document: dict[str, Any]) -> str:
    text = document.get("detail") or document.get("error")
    return text[:LONGEST_TEXT] if isinstance(text, str) else ""
