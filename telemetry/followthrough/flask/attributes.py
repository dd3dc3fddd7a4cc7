"""What a span says of a request, by OpenTelemetry's HTTP conventions, from its WSGI environ.

Texts are cut, so that a span fits into the table of what is under way whatever the caller sends.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import getrandbits
from typing import Any

from opentelemetry.util.http import (
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS,
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST,
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE,
    SanitizeValue,
    detect_synthetic_user_agent,
    get_custom_headers,
    normalise_request_header_name,
    normalise_response_header_name,
    sanitize_method,
)

from .. import names, redact
from ..metrics.labels import METHODS
from ..recorder import encode
from ..recorder.encode import Kept

LONGEST = 400  # characters of a path, a query or a user agent
OTHER = "_OTHER"
_HTTP = "HTTP/"
PROXY_FIX = "werkzeug.proxy_fix.orig"


# Kept, as a name that is the same object each time is the sooner found again.
@functools.lru_cache(maxsize=1024)
def span_name(method: str, route: str) -> str:
    """`{method} {route}`; the method alone without a route, HTTP where that is unknown."""
    first = "HTTP" if method == OTHER else method
    return f"{first} {route}" if route else first


@dataclass(frozen=True, slots=True)
class Alike:
    """What many requests begin with, and their method as it is told."""

    kept: Kept
    method: str
    name: str
    script: str


def of_request(environ: Mapping[str, Any]) -> tuple[dict[str, Any], Alike, str]:
    """All that is known as a request begins, what of it many others begin with too, and its id."""
    get = environ.get
    alike = _kinds[tuple(map(get, _ALIKE))]
    client, port, info, query, given = map(get, _OWN)
    found = alike.kept.attributes.copy()
    if client:
        found[_CLIENT] = client[:LONGEST]
    if port:
        try:  # noqa: SIM105  a context manager is many steps
            found[_PORT] = int(port)
        except ValueError:
            pass
    raw = alike.script + (info or "")
    found[_PATH] = (raw if raw.isascii() else _decoded(raw))[:LONGEST]
    if query:
        found[names.URL_QUERY] = redact.text(query[:LONGEST])
    if not given or _REQUEST_ID.fullmatch(given) is None:
        # No secret: like the ids of spans, and without a system call.
        given = f"{getrandbits(64):016x}"
    found[_ID] = given
    return found, alike, given


# What tells requests of one kind and caller from others, and which are kept.
_ALIKE = (
    "REQUEST_METHOD",
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SERVER_NAME",
    "SERVER_PORT",
    "HTTP_USER_AGENT",
    "SERVER_PROTOCOL",
    "SCRIPT_NAME",
)
_OWN = ("REMOTE_ADDR", "REMOTE_PORT", "PATH_INFO", "QUERY_STRING", "HTTP_X_REQUEST_ID")
_CLIENT, _PORT = names.CLIENT_ADDRESS, names.CLIENT_PORT
_PATH, _ID = names.URL_PATH, names.HTTP_REQUEST_ID
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_MOST_KEPT = 256


class _Kinds(dict[tuple[Any, ...], Alike]):
    def __missing__(self, key: tuple[Any, ...]) -> Alike:
        alike = _alike({name: value for name, value in zip(_ALIKE, key, strict=True) if value})
        if alike.method in METHODS:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[key] = alike
        return alike


_kinds = _Kinds()


class _Endings(dict[int, Kept]):
    def __missing__(self, status: int) -> Kept:
        made = self[status] = encode.kept({names.HTTP_STATUS: status} if status else {})
        return made


# What requests end with, by the status that they were answered with, of three digits.
endings = _Endings()


def _alike(environ: Mapping[str, Any]) -> Alike:
    given = str(environ.get("REQUEST_METHOD", "")).strip()
    known = given if given in METHODS else sanitize_method(given)
    found: dict[str, Any] = {names.HTTP_METHOD: known}
    if given != known:
        found[names.HTTP_METHOD_ORIGINAL] = given[:LONGEST]
    found |= _of_server(environ)
    if agent := environ.get("HTTP_USER_AGENT"):
        found[names.USER_AGENT] = agent[:LONGEST]
        if synthetic := _synthetic(agent[:LONGEST]):
            found[names.USER_AGENT_SYNTHETIC] = synthetic
    if protocol := environ.get("SERVER_PROTOCOL", ""):
        found[names.NETWORK_PROTOCOL_VERSION] = protocol.removeprefix(_HTTP)
    script = environ.get("SCRIPT_NAME", "")
    return Alike(encode.kept(found), known, span_name(known, ""), script)


def of_parties(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Who asks whom; a middleware for proxies (ProxyFix) changes it after the request began."""
    found = _of_server(environ)
    if client := environ.get("REMOTE_ADDR"):
        found[names.CLIENT_ADDRESS] = client[:LONGEST]
    if number := _number(environ.get("REMOTE_PORT")):
        found[names.CLIENT_PORT] = number
    return found


def _of_server(environ: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {names.URL_SCHEME: environ.get("wsgi.url_scheme", "http")}
    address, port = _host(environ.get("HTTP_HOST") or environ.get("SERVER_NAME", ""))
    if address:
        found[names.SERVER_ADDRESS] = address
    if number := port or _number(environ.get("SERVER_PORT")):
        found[names.SERVER_PORT] = number
    return found


def behind_proxies(environ: Mapping[str, Any]) -> dict[str, Any]:
    """The parties anew, for ProxyFix has changed them since the request began."""
    found = of_parties(environ)
    peer = environ[PROXY_FIX].get("REMOTE_ADDR")
    if peer and peer != environ.get("REMOTE_ADDR"):
        found[names.NETWORK_PEER_ADDRESS] = peer
    return found


def path(environ: Mapping[str, Any]) -> str:
    """The whole path, as text."""
    return _decoded(f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}")


def _decoded(raw: str) -> str:
    # WSGI hands bytes over as if they were Latin-1.
    return raw if raw.isascii() else raw.encode("latin-1", "replace").decode(errors="replace")


def url(environ: Mapping[str, Any]) -> str:
    """The whole address, as patterns of excluded URLs are compared with."""
    host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
    query = environ.get("QUERY_STRING")
    ending = f"?{query}" if query else ""
    return f"{environ.get('wsgi.url_scheme', 'http')}://{host}{path(environ)}{ending}"


@functools.lru_cache(maxsize=256)
def _host(header: str) -> tuple[str, int]:
    """A host and its port, 0 where none is named."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", header[:LONGEST])
    if found is None:
        return header[:LONGEST], 0
    return found[1].strip("[]"), int(found[2] or 0)


@functools.lru_cache(maxsize=256)
def _synthetic(agent: str) -> str | None:
    return detect_synthetic_user_agent(agent)


def _number(text: object) -> int:
    if isinstance(text, int):
        return text
    return int(text) if isinstance(text, str) and text.isdecimal() else 0


@dataclass(frozen=True)
class Headers:
    """The headers that are kept as attributes: patterns of their names, as the standard has them.

    The values of those that `sanitized` matches are `[REDACTED]`.
    """

    request: tuple[str, ...] = ()
    response: tuple[str, ...] = ()
    sanitized: tuple[str, ...] = ()

    def of_request(self, environ: Mapping[str, Any]) -> dict[str, list[str]]:
        """Attributes of the request's headers."""
        headers = {
            key[5:].replace("_", "-"): value
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        return self._kept(headers, self.request, normalise_request_header_name)

    def of_response(self, headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
        """Attributes of the answer's headers."""
        joined: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            joined[key] = f"{joined[key]},{value}" if key in joined else value
        return self._kept(joined, self.response, normalise_response_header_name)

    def _kept(
        self, headers: Mapping[str, Any], patterns: tuple[str, ...], key: Any
    ) -> dict[str, list[str]]:
        return SanitizeValue(self.sanitized).sanitize_header_values(headers, list(patterns), key)


def captured(
    request: Iterable[str] | None, response: Iterable[str] | None, sanitized: Iterable[str] | None
) -> Headers:
    """What is to be kept: what is given, else what the standard environment variables say."""
    return Headers(
        _patterns(request, OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST),
        _patterns(response, OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE),
        _patterns(sanitized, OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS),
    )


def _patterns(given: Iterable[str] | None, env: str) -> tuple[str, ...]:
    return tuple(get_custom_headers(env) if given is None else given)
