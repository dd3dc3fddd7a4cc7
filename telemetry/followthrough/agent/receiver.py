"""OTLP over HTTP: takes spans, protobuf or JSON, plain or gzip, as the protocol asks."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import structlog
from google.rpc import status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ..console import otlp
from ..console.store import Store
from .sender import Answer

log = structlog.get_logger("followthrough.agent")

PATH = "/v1/traces"
LIMIT = 32 * 1024**2
PROTOBUF = "application/x-protobuf"
JSON = "application/json"
READERS = {PROTOBUF: otlp.from_protobuf, JSON: otlp.from_json}
# google.rpc.Code of each HTTP status that is answered.
CODES = {400: 3, 404: 5, 405: 12, 413: 8, 415: 3, 503: 14}


class Refused(Exception):  # noqa: N818  (it is an answer, not a fault)
    """A request that isn't taken: its HTTP status and a sentence."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


class Receiver:
    """The WSGI application that keeps what it is sent in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        headers = [("Content-Type", kind if kind in READERS else PROTOBUF)]
        try:
            status, message = HTTPStatus.OK, self._take(environ, kind)
        except Refused as refused:
            status = refused.status
            message = status_pb2.Status(code=CODES[status], message=refused.message)
            headers += {405: [("Allow", "POST")], 503: [("Retry-After", "5")]}.get(status, [])
        body = _encoded(message, headers[0][1])
        start(f"{status.value} {status.phrase}", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def keep(self, request: bytes, kind: str = PROTOBUF) -> ExportTraceServiceResponse:
        """Keep a request's spans; raises Refused."""
        try:
            message = READERS[kind](request)
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        return self._keep(list(otlp.spans(message)))

    def _take(self, environ: dict[str, Any], kind: str) -> ExportTraceServiceResponse:
        _check(environ, kind)
        return self.keep(_body(environ), kind)

    def _keep(self, spans: list[Any]) -> ExportTraceServiceResponse:
        good = [span for span in spans if span]
        try:
            full = self._store.add(good)
        except sqlite3.Error as error:
            log.warning("spans.not_stored", error=str(error))
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"not stored: {error}") from error
        return _response(invalid=len(spans) - len(good), full=full)


class Own:
    """The agent's own receiver, as the place where the host's spans are sent."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def send(self, request: bytes, timeout: float) -> Answer:  # noqa: ARG002  nothing to wait for
        """Keep a request."""
        try:
            response = self._receiver.keep(request)
        except Refused as refused:
            final = refused.status < HTTPStatus.INTERNAL_SERVER_ERROR
            return Answer(taken=False, reason=refused.message, final=final)
        return Answer(taken=True, rejected=response.partial_success.rejected_spans)


def _check(environ: dict[str, Any], kind: str) -> None:
    if environ.get("PATH_INFO") != PATH:
        raise Refused(HTTPStatus.NOT_FOUND, f"only {PATH} is kept here")
    if environ["REQUEST_METHOD"] != "POST":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "spans are sent with POST")
    if kind not in READERS:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {PROTOBUF} or {JSON}")


def _body(environ: dict[str, Any]) -> bytes:
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip"):
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send it plain or as gzip")
    body = environ["wsgi.input"].read(LIMIT + 1)
    if encoding == "gzip":
        body = _unzipped(body)
    if len(body) > LIMIT:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {LIMIT} bytes")
    return bytes(body)


def _unzipped(body: bytes) -> bytes:
    # Bounded: a small body can unfold to gigabytes.
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = reader.decompress(body, LIMIT + 1)
    except zlib.error as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"not gzip: {error}") from error
    if not reader.eof and len(plain) <= LIMIT:
        raise Refused(HTTPStatus.BAD_REQUEST, "the gzip stream is cut off")
    return plain


def _response(*, invalid: int, full: int) -> ExportTraceServiceResponse:
    response = ExportTraceServiceResponse()
    reasons = {
        f"{invalid} with an invalid trace or span id": invalid,
        f"{full} of full traces": full,
    }
    if invalid + full:
        response.partial_success.rejected_spans = invalid + full
        response.partial_success.error_message = ", ".join(r for r, n in reasons.items() if n)
    return response


def _encoded(message: Any, kind: str) -> bytes:
    if kind == PROTOBUF:
        return bytes(message.SerializeToString())
    from google.protobuf import json_format  # noqa: PLC0415  (only JSON senders need it)

    return json_format.MessageToJson(message, indent=None).encode()
