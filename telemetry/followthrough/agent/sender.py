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
        """Send a request of its signal, for at most so many seconds; raises nothing."""


class Collector:
    """A collector, with the address, headers, certificates and compression of OTLP's settings.

    Parts of the stock exporter read those and make the connection, without protocol buffers; when
    to try again is decided by the caller.
    """

    def __init__(self, endpoint: str, signal: str, compression: str | None) -> None:
        name = f"OTEL_EXPORTER_OTLP_{signal}"
        certificate, key, own = (f"{name}_{each}" for each in CERTIFICATES)
        self._timeout = _common._resolve_timeout(f"{name}_TIMEOUT")
        self._client: Any = http._OTLPHTTPClient(
            transport=_common._build_transport(None, None, None, certificate, key, own, None),
            endpoint=endpoint,
            kind="spans" if signal == "TRACES" else "logs",
            compression=_compression(endpoint, compression),
            headers=_common._resolve_headers(None, f"{name}_HEADERS"),
        )

    def send(self, request: bytes, timeout: float) -> Answer:
        """Send a request once."""
        seconds = min(timeout, self._timeout)
        try:
            result = self._client._submit(self._client._compress(request), seconds)
        except Exception as error:  # noqa: BLE001  whatever a transport raises, it was not sent
            return Answer(taken=False, reason=str(error))
        return _answer(result)


class Nobody:
    """Where no address is known to send a signal to: all of it is refused."""

    def __init__(self, setting: str) -> None:
        self._reason = f"nowhere to send it; {setting} names a collector"

    def send(self, request: bytes, timeout: float) -> Answer:  # noqa: ARG002  nothing is sent
        """Refuse a request."""
        return Answer(taken=False, reason=self._reason, final=True)


def to_traces(settings: Settings) -> Sender:
    """Where spans go, if not to the agent itself."""
    return Collector(settings.traces_endpoint, "TRACES", settings.otlp_compression)


def to_logs(settings: Settings) -> Sender:
    """Where log records go: the agent itself keeps none."""
    if settings.logs_endpoint is None:
        return Nobody("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
    return Collector(settings.logs_endpoint, "LOGS", settings.otlp_logs_compression)


def _compression(endpoint: str, wanted: str | None) -> http.Compression:
    if wanted:
        return http.Compression.from_str(wanted)
    # Within the host it would cost more than it saves.
    return (
        http.Compression.NONE if urlsplit(endpoint).hostname in LOOPBACK else http.Compression.GZIP
    )


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
    """How many records a collector that took the request has refused."""
    content = result.content()
    if not content:
        return 0
    # Only a collector that has something to say costs the memory of protocol buffers. The answer
    # about logs has the same fields.
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
