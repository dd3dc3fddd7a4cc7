"""Calls other services over HTTP: within a time, to permitted addresses, with a bounded answer."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
from opentelemetry import propagate, trace
from requests import exceptions
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as urllib3_exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool

from app.services import addresses
from app.services.dial import Line, NotAllowedError
from followthrough.tracing import get_tracer

if TYPE_CHECKING:
    from socket import socket

    from app.settings import Settings

LIMIT = 64 * 1024  # bytes of an answer that are read
CHUNK = 8 * 1024
ERROR = 400
USER_AGENT = "followthrough-service"

_tracer = get_tracer("app.services.http_client")

_MALFORMED = (
    exceptions.InvalidURL,
    exceptions.InvalidSchema,
    exceptions.MissingSchema,
    exceptions.InvalidHeader,
    UnicodeError,
)
_UNANSWERED = (exceptions.RequestException, urllib3_exceptions.HTTPError, OSError)


class RefusedError(Exception):
    """The call is not allowed or not possible, and won't be later."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnavailableError(Exception):
    """There is no answer, or one that asks to try again, after `retry_after` seconds if given."""

    def __init__(
        self, message: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        # The message alone, so that the error can be stored and rebuilt.
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Call:
    """One request; `timeout` in seconds bounds all of it, `attempt` counts from 0.

    With a `limit` of 0 the answer's body isn't waited for.
    """

    method: str
    url: str
    timeout: float
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0
    limit: int = LIMIT


@dataclass(frozen=True)
class Answer:
    """What came back; `body` is cut after the call's limit, and then not `complete`."""

    status: int
    encoding: str
    retry_after: float | None
    body: bytes
    complete: bool


def send(call: Call, settings: Settings) -> Answer:
    """Make a call, following no redirect; raises RefusedError or UnavailableError."""
    with _span(call) as span:
        line = Line(call.timeout, settings.outgoing_allowed)
        with _told_apart(call, line), line:
            answer = _exchange(call, line, settings)
        _describe(span, answer, line)
        return answer


def _exchange(call: Call, line: Line, settings: Settings) -> Answer:
    headers = {"User-Agent": USER_AGENT, "Connection": "close", **call.headers}
    propagate.inject(headers)
    with _session(line, settings) as session:
        response = session.request(
            call.method,
            call.url,
            data=call.body,
            headers=headers,
            timeout=call.timeout,
            stream=True,
            # A redirect could lead anywhere, and would drop the body.
            allow_redirects=False,
        )
        with response:
            body = _bounded(response, call.limit)
            # Cut off at the deadline, an answer may still look whole.
            line.left()
            return _answer(response, body, call.limit)


def _session(line: Line, settings: Settings) -> requests.Session:
    session = requests.Session()
    # A proxy would look up the name itself, past the guard; and .netrc would add passwords.
    session.trust_env = False
    session.verify = str(settings.outgoing_ca_file) if settings.outgoing_ca_file else True
    for scheme in addresses.SCHEMES:
        session.mount(f"{scheme}://", _Adapter(line))
    return session


class _Http(HTTPConnection):
    def __init__(self, *args: Any, line: Line, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._line = line

    def _new_conn(self) -> socket:
        return self._line.dial(self._dns_host, self.port)


class _Https(HTTPSConnection):
    def __init__(self, *args: Any, line: Line, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._line = line

    def _new_conn(self) -> socket:
        return self._line.dial(self._dns_host, self.port)


class _Adapter(HTTPAdapter):
    """Connects by a line; the certificate is still checked against the name in the address."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _Https if pool.scheme == "https" else _Http
        pool.conn_kw["line"] = self._line
        return pool


def _bounded(response: requests.Response, limit: int) -> bytes:
    body = bytearray()
    if limit == 0:
        return bytes(body)
    # One byte more than the limit tells a cut body from a whole one.
    for chunk in response.iter_content(CHUNK):
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def _answer(response: requests.Response, body: bytes, limit: int) -> Answer:
    return Answer(
        status=response.status_code,
        encoding=response.encoding or "utf-8",
        retry_after=seconds(response.headers.get("Retry-After"), time.time()),
        body=body[:limit],
        complete=len(body) <= limit,
    )


def seconds(retry_after: str | None, now: float) -> float | None:
    """A Retry-After header, a number or a date, in seconds from `now` (unix seconds)."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    date = email.utils.parsedate_tz(retry_after)
    try:
        return None if date is None else max(0.0, email.utils.mktime_tz(date) - now)
    except (ValueError, OverflowError):
        return None


@contextmanager
def _told_apart(call: Call, line: Line) -> Iterator[None]:
    # The text of requests' errors holds the address, whose query is often a secret.
    try:
        yield
    except NotAllowedError as error:
        raise RefusedError(str(error)) from None
    except _MALFORMED:
        raise RefusedError("This address can't be called.") from None
    except _UNANSWERED as error:
        late = f"no answer within {call.timeout:g} s" if line.is_late() else _root(error)
        raise UnavailableError(late) from None


def _root(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return type(error).__name__


@contextmanager
def _span(call: Call) -> Iterator[trace.Span]:
    try:
        parts = addresses.parsed(call.url)
    except ValueError as error:
        raise RefusedError(str(error)) from None
    attributes: dict[str, str | int] = {
        "http.request.method": call.method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "url.full": addresses.bare(parts),
    }
    if call.attempt:
        attributes["http.request.resend_count"] = call.attempt
    with _tracer.start_as_current_span(
        call.method, kind=trace.SpanKind.CLIENT, attributes=attributes, record_exception=False
    ) as span:
        try:
            yield span
        except (RefusedError, UnavailableError) as error:
            span.set_attribute("error.type", type(error).__name__)
            raise


def _describe(span: trace.Span, answer: Answer, line: Line) -> None:
    span.set_attribute("http.response.status_code", answer.status)
    span.set_attribute("network.peer.address", line.peer)
    if answer.status >= ERROR:
        span.set_attribute("error.type", str(answer.status))
        span.set_status(trace.StatusCode.ERROR)
