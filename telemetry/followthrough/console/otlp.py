"""Spans out of OTLP export requests, protobuf or JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from .span import MISSING_SERVICE, Event, Link, Span, Tag

KINDS = ("", "internal", "server", "client", "producer", "consumer")
STATUSES = ("UNSET", "OK", "ERROR")
LATEST = 2**63 - 1
ID_FIELDS = ("traceId", "spanId", "parentSpanId")


def from_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """Read a protobuf export request; raises ValueError when it isn't one."""
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise ValueError(f"not an OTLP trace request: {error}") from error


def from_json(body: bytes) -> ExportTraceServiceRequest:
    """Read an OTLP/JSON export request; raises ValueError when it isn't one."""
    from google.protobuf import json_format  # noqa: PLC0415  (only JSON senders need it)

    try:
        document = dict(json.loads(body, object_hook=_base64_ids).items())
        request = ExportTraceServiceRequest()
        json_format.ParseDict(document, request, ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an OTLP/JSON trace request: {error}") from error
    return request


def _base64_ids(node: dict[str, Any]) -> dict[str, Any]:
    # OTLP/JSON writes ids in hex where protobuf's JSON mapping has base64.
    ids = {
        key: base64.b64encode(bytes.fromhex(node[key])).decode() for key in ID_FIELDS if key in node
    }
    return {**node, **ids}


def spans(request: ExportTraceServiceRequest) -> Iterator[Span | None]:
    """Each span of a request; None stands for one whose ids are not valid."""
    for group in request.resource_spans:
        resource = _tags(group.resource.attributes)
        service = next((str(t.value) for t in resource if t.key == "service.name"), "")
        resource = [tag for tag in resource if tag.key != "service.name"]
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield _span(span, scoped.scope, service or MISSING_SERVICE, resource)


def _span(span: trace_pb2.Span, scope: Any, service: str, resource: list[Tag]) -> Span | None:
    if not (_valid(span.trace_id, 16) and _valid(span.span_id, 8)):
        return None
    start = min(span.start_time_unix_nano, LATEST)
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if _valid(span.parent_span_id, 8) else "",
        name=span.name,
        kind=_named(KINDS, span.kind),
        service=service,
        start=start,
        end=max(start, min(span.end_time_unix_nano, LATEST)),
        status=_named(STATUSES, span.status.code),
        message=span.status.message,
        trace_state=span.trace_state,
        scope=scope.name,
        scope_version=scope.version,
        tags=_tags(span.attributes),
        events=[_event(event) for event in span.events],
        links=[
            Link(link.trace_id.hex(), link.span_id.hex(), _tags(link.attributes))
            for link in span.links
            if _valid(link.trace_id, 16) and _valid(link.span_id, 8)
        ],
        resource=resource,
    )


def _event(event: trace_pb2.Span.Event) -> Event:
    return Event(min(event.time_unix_nano, LATEST), event.name, _tags(event.attributes))


def _valid(identity: bytes, size: int) -> bool:
    return len(identity) == size and any(identity)


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else names[0]


def _tags(attributes: Iterable[Any]) -> list[Tag]:
    tags = [_tag(attribute.key, attribute.value) for attribute in attributes]
    return sorted(tags, key=lambda tag: tag.key)


def _tag(key: str, value: Any) -> Tag:
    kind = value.WhichOneof("value")
    if kind == "bool_value":
        return Tag(key, "bool", value.bool_value)
    if kind == "int_value":
        return Tag(key, "int64", value.int_value)
    if kind == "double_value" and math.isfinite(value.double_value):
        return Tag(key, "float64", value.double_value)
    if kind == "bytes_value":
        return Tag(key, "binary", base64.b64encode(value.bytes_value).decode())
    return Tag(key, "string", _text(value))


def _text(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, list | dict):
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return "" if plain is None else str(plain)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind) if kind else None
