# ruff: noqa: SLF001  the stock exporter's parts are private, and the kit's bounds name its version
"""Sends OTLP requests to a collector, and says whether it took them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.common import http
from opentelemetry.exporter.otlp.proto.http import _common

from ..settings import Settings

TOO_LARGE = 413
CERTIFICATES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Answer:
    """What became of a request: all `taken` but for so many `rejected`, or to be sent again.

    One that is not taken and not to be sent again (`final`) is lost.
    """

    taken: bool
    reason: str = ""
    rejected: int = 0
    final: bool = False
    too_large: bool = False
    retry_after: float | None = None  # seconds


class Sender(Protocol):
    """Where requests go."""

    def send(self, request: bytes, timeout: float) -> Answer:
        """Send an ExportTraceServiceRequest, for at most so many seconds; raises nothing."""


class Collector:
    """A collector, with the address, headers, certificates and compression of OTLP's settings.

    Parts of the stock exporter read those and make the connection, without protocol buffers; when
    to try again is decided by the caller.
    """

    def __init__(self, settings: Settings) -> None:
        certificate, key, own = (f"OTEL_EXPORTER_OTLP_TRACES_{each}" for each in CERTIFICATES)
        self._timeout = _common._resolve_timeout("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
        self._client: Any = http._OTLPHTTPClient(
            transport=_common._build_transport(None, None, None, certificate, key, own, None),
            endpoint=settings.traces_endpoint,
            kind="spans",
            compression=_compression(settings),
            headers=_common._resolve_headers(None, "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
        )

    def send(self, request: bytes, timeout: float) -> Answer:
        """Send a request once."""
        seconds = min(timeout, self._timeout)
        try:
            result = self._client._submit(self._client._compress(request), seconds)
        except Exception as error:  # noqa: BLE001  whatever a transport raises, it was not sent
            return Answer(taken=False, reason=str(error))
        return _answer(result)


def _compression(settings: Settings) -> http.Compression:
    if settings.otlp_compression:
        return http.Compression.from_str(settings.otlp_compression)
    # Within the host it would cost more than it saves.
    is_near = urlsplit(settings.traces_endpoint).hostname in LOOPBACK
    return http.Compression.NONE if is_near else http.Compression.GZIP


def _answer(result: Any) -> Answer:
    status = result.status_code
    if status is None:
        return Answer(taken=False, reason=_shortly(result.error))
    if 200 <= status < 300:  # noqa: PLR2004
        return Answer(taken=True, rejected=_rejected(result))
    return Answer(
        taken=False,
        reason=f"HTTP {status} {result.reason or ''}".strip(),
        final=not http._is_retryable(status),
        too_large=status == TOO_LARGE,
        retry_after=http._extract_retry_after(result),
    )


def _rejected(result: Any) -> int:
    """How many spans a collector that took the request has refused."""
    content = result.content()
    if not content:
        return 0
    # Only a collector that has something to say costs the memory of protocol buffers.
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceResponse,
    )

    try:
        response = ExportTraceServiceResponse.FromString(content)
    except Exception:  # noqa: BLE001  an answer that says nothing says nothing of refusals
        return 0
    return int(response.partial_success.rejected_spans)


def _shortly(error: Exception | None) -> str:
    return type(error).__name__ if error else "no answer"
