"""A gateway that takes charges over HTTP: JSON by POST, with the header Idempotency-Key."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import requests
from opentelemetry import propagate, trace

from app.services.payments import DeclinedError, RejectedError, Terms, TransientError

if TYPE_CHECKING:
    from app.settings import Settings

TIMEOUT = (5.0, 20.0)  # seconds to connect, and between two pieces of the answer
LONGEST_ANSWER = 65536  # bytes
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

_tracer = trace.get_tracer("app.services.payments")


class HttpGateway:
    def __init__(self, settings: Settings) -> None:
        self.methods = settings.payment_methods
        self._url = settings.payment_gateway_url or ""
        self._token = settings.payment_gateway_token

    def charge(self, terms: Terms) -> str:
        with _tracer.start_as_current_span("charge", kind=trace.SpanKind.CLIENT) as span:
            status, raw = self._post(terms)
            span.set_attribute("http.response.status_code", status)
            return transaction(status, raw)

    def _post(self, terms: Terms) -> tuple[int, bytes]:
        try:
            with requests.post(
                self._url,
                json=_document(terms),
                headers=self._headers(terms.order_id),
                timeout=TIMEOUT,
                # A redirected POST would arrive as a GET.
                allow_redirects=False,
                stream=True,
            ) as response:
                return response.status_code, _some_of(response)
        except requests.RequestException as error:
            # Its text may hold the address, and with it a password.
            raise TransientError(f"The gateway gave no answer: {type(error).__name__}.") from error

    def _headers(self, key: str) -> dict[str, str]:
        headers = {"Idempotency-Key": key}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        propagate.inject(headers)
        return headers


def _document(terms: Terms) -> dict[str, str]:
    return {
        "order_id": terms.order_id,
        "amount": str(terms.amount),
        "currency": terms.currency,
        "payment_method": terms.method,
    }


def _some_of(response: requests.Response) -> bytes:
    return next(response.iter_content(LONGEST_ANSWER), b"")


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
