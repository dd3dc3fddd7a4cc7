"""Joins records into one OTLP request: protocol buffers' messages are joined by concatenation."""

from __future__ import annotations

from collections.abc import Iterable

from . import record, wire


def traces(records: Iterable[bytes]) -> bytes:
    """An ExportTraceServiceRequest of all spans, grouped by their resource and scope."""
    origins: dict[bytes, dict[bytes, list[bytes]]] = {}
    for each in records:
        resource, scope, span = record.split(each)
        origins.setdefault(resource, {}).setdefault(scope, []).append(span)
    return b"".join(_resource_spans(origin, scopes) for origin, scopes in origins.items())


def _resource_spans(origin: bytes, scopes: dict[bytes, list[bytes]]) -> bytes:
    parts = [wire.message(b"\x12", scope + b"".join(spans)) for scope, spans in scopes.items()]
    return wire.message(b"\x0a", origin + b"".join(parts))
