"""The notifier that posts an alert as a Standard Webhooks message."""

from __future__ import annotations

import base64
import binascii
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from ...settings import Settings, SettingsError
from ..alert import Alert
from . import Refused, Retry

TIMEOUT = 10.0
# Standard Webhooks: 192 to 512 bits.
KEY_BYTES = range(24, 65)
RETRIED = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Target:
    """Where to post: what a request needs of the address."""

    secure: bool
    host: str
    port: int
    path: str
    authorization: str | None


class WebhookNotifier:
    """Posts to `target`; `timeout` in seconds bounds a delivery, whatever the receiver does."""

    name = "webhook"

    def __init__(self, target: Target, keys: list[bytes], *, timeout: float = TIMEOUT) -> None:
        self._target = target
        self._keys = keys
        self._timeout = timeout

    def notify(self, alert: Alert) -> None:
        body = payload(alert)
        deadline = time.monotonic() + self._timeout
        try:
            status, after = _post(self._target, body, self._headers(alert.id, body), deadline)
        except (OSError, http.client.HTTPException) as error:
            late = time.monotonic() >= deadline
            # The error's text may carry the address, whose path is often a secret.
            reason = f"no answer within {self._timeout:g} s" if late else type(error).__name__
            raise Retry(reason) from None
        _judge(status, after)

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "followthrough",
            "Connection": "close",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
        }
        if self._target.authorization:
            headers["Authorization"] = self._target.authorization
        if self._keys:
            signatures = [sign(key, message_id, now, body) for key in self._keys]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


def payload(alert: Alert) -> bytes:
    """The body: the alert in the envelope that Standard Webhooks recommends."""
    when = datetime.fromtimestamp(alert.timestamp, UTC).isoformat()
    message = {"type": f"task.{alert.outcome}", "timestamp": when, "data": asdict(alert)}
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def build(settings: Settings) -> WebhookNotifier:
    """The notifier as the entry point gives it; raises SettingsError for an unfit setting."""
    problems: list[str] = []
    try:
        target = parse_url(settings.webhook_url or "")
    except ValueError as error:
        problems.append(f"FOLLOWTHROUGH_ALERT_WEBHOOK_URL: {error}")
    try:
        keys = parse_secret(settings.webhook_secret or "")
    except ValueError as error:
        problems.append(f"FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET: {error}")
    if problems:
        raise SettingsError(problems)
    return WebhookNotifier(target, keys)


def parse_url(url: str) -> Target:
    """The target that `url` names; raises ValueError, never with the address in its text."""
    if not url.isascii() or any(character <= " " for character in url):
        raise ValueError("holds characters that an address may not hold; percent-encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise ValueError("is not an address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("is not an http:// or https:// address")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    auth = _basic(parts.username, parts.password)
    return Target(secure, host, port or (443 if secure else 80), path, auth)


def parse_secret(secret: str) -> list[bytes]:
    """The keys of a secret, several for a rotation parted by spaces; raises ValueError."""
    return [_key(part) for part in secret.split()]


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not whsec_ and base64") from None
    if len(key) not in KEY_BYTES:
        raise ValueError(f"is {len(key)} bytes long; 24 to 64 are asked for")
    return key


def _basic(user: str | None, password: str | None) -> str | None:
    if user is None:
        return None
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One Standard Webhooks signature; `timestamp` in unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _post(
    target: Target, body: bytes, headers: dict[str, str], deadline: float
) -> tuple[int, str | None]:
    left = deadline - time.monotonic()
    sock = socket.create_connection((target.host, target.port), left)
    with _ended_at(sock, deadline), contextlib.closing(_connection(target, sock)) as connection:
        connection.request("POST", target.path, body, headers)
        with connection.getresponse() as response:
            if time.monotonic() >= deadline:
                # Cut off amid the headers, an answer still looks whole.
                raise TimeoutError
            return response.status, response.getheader("Retry-After")


def _connection(target: Target, sock: socket.socket) -> http.client.HTTPConnection:
    if target.secure:
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=target.host)
    kind = http.client.HTTPSConnection if target.secure else http.client.HTTPConnection
    connection = kind(target.host, target.port)
    connection.sock = sock
    return connection


@contextlib.contextmanager
def _ended_at(sock: socket.socket, deadline: float) -> Iterator[None]:
    # A socket's timeout bounds one read; a peer that drips bytes needs a bound on the whole, and
    # TLS takes the socket over, so a second handle ends it.
    handle = sock.dup()
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, (handle,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        handle.close()
        sock.close()


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


def _judge(status: int, after: str | None) -> None:
    reason = f"HTTP {status}"
    if 200 <= status < 300:  # noqa: PLR2004
        return
    if 400 <= status < 500 and status not in RETRIED:  # noqa: PLR2004
        raise Refused(reason)
    # A redirect is never followed: it could lead anywhere, and the setting is easily put right.
    raise Retry(reason, _seconds(after))


def _seconds(after: str | None) -> float | None:
    """A Retry-After header, a number or a date, in seconds from now."""
    if after is None:
        return None
    if after.isascii() and after.isdecimal():
        return float(after[:9])
    date = email.utils.parsedate_tz(after)
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
