"""Joins records into one OTLP request: protocol buffers' messages are joined by concatenation."""

from __future__ import annotations

from collections.abc import Iterable

from . import record, wire


def traces(records: Iterable[bytes]) -> bytes:
    """An ExportTraceServiceRequest of all spans, grouped by their resource and scope."""
    return _joined(records)


def logs(records: Iterable[bytes]) -> bytes:
    """An ExportLogsServiceRequest of all log records, grouped by their resource and scope."""
    return _joined(records)


def _joined(records: Iterable[bytes]) -> bytes:
    # Both requests have the same fields, one in the other.
    found: dict[bytes, list[bytes]] = {}
    for each in records:
        at = record.body_at(each)
        found.setdefault(each[:at], []).append(each[at:])
    origins: dict[bytes, dict[bytes, list[bytes]]] = {}
    for prefix, messages in found.items():
        resource, scope = record.origin(prefix)
        origins.setdefault(resource, {})[scope] = messages
    return b"".join(_of_resource(origin, scopes) for origin, scopes in origins.items())


def _of_resource(origin: bytes, scopes: dict[bytes, list[bytes]]) -> bytes:
    parts = [wire.message(b"\x12", scope + _messages(found)) for scope, found in scopes.items()]
    return wire.message(b"\x0a", origin + b"".join(parts))


def _messages(found: list[bytes]) -> bytes:
    """As ScopeSpans.spans, or ScopeLogs.log_records."""
    return b"".join([wire.message(b"\x12", each) for each in found])
