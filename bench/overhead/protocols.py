"""What a kit's request holds: its spans, as far as they tell one kind from another."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgpack
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


class Seen(NamedTuple):
    """A span that came; `task` is the name of the task that it is a run of, if it is one."""

    name: str
    task: str = ""
    is_error: bool = False


_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


def spans(protocol: str, path: str, encoding: str, body: bytes) -> Iterator[Seen]:
    """Each span in a request; nothing of what tells no spans."""
    raw = _UNPACK.get(encoding, bytes)(body)
    return _READERS[protocol](path, raw)


def _otlp(path: str, body: bytes) -> Iterator[Seen]:
    if path.endswith("/v1/traces"):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                yield from (_otlp_span(span) for span in scope.spans)


def _otlp_span(span: Span) -> Seen:
    # `run/name` is contrib's name, `process name` that of the semantic conventions.
    is_run = span.kind == Span.SPAN_KIND_CONSUMER
    task = span.name.removeprefix("run/").removeprefix("process ") if is_run else ""
    return Seen(span.name, task, span.status.code == Status.STATUS_CODE_ERROR)


def _datadog(path: str, body: bytes) -> Iterator[Seen]:
    if path == "/v0.4/traces":
        for trace in msgpack.unpackb(body, strict_map_key=False):
            yield from (_datadog_span(s["name"], s["resource"], s.get("error")) for s in trace)
    elif path == "/v0.5/traces":
        texts, traces = msgpack.unpackb(body, strict_map_key=False)
        for trace in traces:
            yield from (_datadog_span(texts[s[1]], texts[s[2]], s[8]) for s in trace)


def _datadog_span(name: str, resource: str, error: Any) -> Seen:
    return Seen(name, resource if name == "celery.run" else "", bool(error))


def _sentry(_path: str, body: bytes) -> Iterator[Seen]:
    for kind, payload in _items(body):
        if kind == "transaction":
            event = json.loads(payload)
            name, trace = event["transaction"], event["contexts"]["trace"]
            task = name if trace.get("op") == "queue.task.celery" else ""
            yield Seen(f"transaction {name}", task, trace.get("status", "ok") not in _SENTRY_ENDS)
            yield from (Seen(f"span {span['op']}") for span in event["spans"])


# "aborted" is what it calls a retry.
_SENTRY_ENDS = ("ok", "aborted")


def _items(envelope: bytes) -> Iterator[tuple[str, bytes]]:
    _, _, rest = envelope.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        header: dict[str, Any] = json.loads(line)
        size = header.get("length", rest.find(b"\n"))
        yield header["type"], rest[:size]
        rest = rest[size:].lstrip(b"\n")


def _elastic(path: str, body: bytes) -> Iterator[Seen]:
    if path == "/intake/v2/events":
        for line in body.splitlines():
            for kind, event in json.loads(line).items():
                if kind in ("transaction", "span"):
                    task = event["name"] if event.get("type") == "celery" else ""
                    yield Seen(f"{kind} {event['name']}", task, event.get("outcome") == "failure")


_READERS: dict[str, Callable[[str, bytes], Iterator[Seen]]] = {
    "otlp": _otlp,
    "datadog": _datadog,
    "sentry": _sentry,
    "elastic": _elastic,
}
