"""What a kit's request holds: the names of its spans, as far as they tell one kind from another."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


def names(protocol: str, path: str, encoding: str, body: bytes) -> Iterator[str]:
    """The name of each span in a request; nothing of what tells no spans."""
    raw = _UNPACK.get(encoding, bytes)(body)
    return _READERS[protocol](path, raw)


def _otlp(path: str, body: bytes) -> Iterator[str]:
    if path.endswith("/v1/traces"):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                yield from (span.name for span in scope.spans)


def _datadog(path: str, body: bytes) -> Iterator[str]:
    if path == "/v0.4/traces":
        for trace in msgpack.unpackb(body, strict_map_key=False):
            yield from (span["name"] for span in trace)
    elif path == "/v0.5/traces":
        texts, traces = msgpack.unpackb(body, strict_map_key=False)
        for trace in traces:
            yield from (texts[span[1]] for span in trace)


def _sentry(_path: str, body: bytes) -> Iterator[str]:
    for kind, payload in _items(body):
        if kind == "transaction":
            event = json.loads(payload)
            yield f"transaction {event['transaction']}"
            yield from (f"span {span['op']}" for span in event["spans"])


def _items(envelope: bytes) -> Iterator[tuple[str, bytes]]:
    _, _, rest = envelope.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        header: dict[str, Any] = json.loads(line)
        size = header.get("length", rest.find(b"\n"))
        yield header["type"], rest[:size]
        rest = rest[size:].lstrip(b"\n")


def _elastic(path: str, body: bytes) -> Iterator[str]:
    if path == "/intake/v2/events":
        for line in body.splitlines():
            for kind, event in json.loads(line).items():
                if kind in ("transaction", "span"):
                    yield f"{kind} {event['name']}"


_READERS: dict[str, Callable[[str, bytes], Iterator[str]]] = {
    "otlp": _otlp,
    "datadog": _datadog,
    "sentry": _sentry,
    "elastic": _elastic,
}
