"""The part of Jaeger's HTTP query API that viewers use, answered from the built-in store.

The answers are those of Jaeger 2: `data`, `total`, `limit`, `offset` and `errors`, microseconds,
64-bit trace ids without their zeros.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, request

from . import queries
from .queries import Query, Summary
from .span import Event, Span, Tag
from .store import Store

MICRO = 1000
UNITS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "d": 86400e9}
LIMIT = 1500
SPANS = 20_000


class ApiError(Exception):
    """An answer with an error: its HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


def blueprint(store: Store) -> Blueprint:
    """The API's routes, under /api."""
    api = Blueprint("jaeger", __name__, url_prefix="/api")

    @api.errorhandler(ApiError)
    def _failed(error: ApiError) -> Response:
        return _answer(
            None, errors=[{"code": error.status, "msg": error.message}], status=error.status
        )

    @api.get("/services")
    def _services() -> Response:
        names = queries.services(store)
        return _answer(names, total=len(names))

    @api.get("/services/<path:service>/operations")
    def _names(service: str) -> Response:
        names = sorted({name for name, _ in queries.operations(store, service)})
        return _answer(names, total=len(names))

    @api.get("/operations")
    def _operations() -> Response:
        kind = request.args.get("spanKind", "")
        found = [
            {"name": name, "spanKind": own}
            for name, own in queries.operations(store, _service(request.args))
            if kind in ("", own)
        ]
        return _answer(found, total=len(found))

    @api.get("/traces")
    def _search() -> Response:
        if ids := request.args.getlist("traceID"):
            return _by_id(store, [trace_id(text) for text in ids])
        found = _affordable(queries.find(store, query(request.args)))
        return _answer([_document(queries.trace(store, one.trace_id)) for one in found])

    @api.get("/traces/<identity>")
    def _trace(identity: str) -> Response:
        if not (spans := queries.trace(store, trace_id(identity))):
            raise ApiError(404, "trace not found")
        return _answer([_document(spans)])

    @api.get("/dependencies")
    def _dependencies() -> Response:
        calls = queries.dependencies(store, *_period(request.args))
        return _answer(
            [{"parent": p, "child": c, "callCount": n} for (p, c), n in sorted(calls.items())]
        )

    return api


def _affordable(found: list[Summary]) -> list[Summary]:
    # Searches answer whole traces; a page full of huge ones would take gigabytes.
    sums = itertools.accumulate(one.spans for one in found)
    return [
        one for one, total in zip(found, sums, strict=True) if total <= SPANS or one is found[0]
    ]


def _by_id(store: Store, ids: list[str]) -> Response:
    found = {identity: queries.trace(store, identity) for identity in ids}
    errors = [
        {"msg": "trace not found", "traceID": short(identity)}
        for identity, spans in found.items()
        if not spans
    ]
    return _answer([_document(spans) for spans in found.values() if spans], errors=errors or None)


def failure(status: int, message: str) -> Response:
    """An answer that says what went wrong."""
    return _answer(None, errors=[{"code": status, "msg": message}], status=status)


def _answer(data: Any, *, total: int = 0, errors: Any = None, status: int = 200) -> Response:
    body = {"data": data, "total": total, "limit": 0, "offset": 0, "errors": errors}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, content_type="application/json")


# What is asked


def query(args: Mapping[str, str]) -> Query:
    """The search that `args` ask for; raises ApiError on values that can't be read."""
    shortest = _duration(args, "minDuration", 0)
    longest = _duration(args, "maxDuration", queries.LATEST)
    if longest < shortest:
        raise ApiError(400, "'maxDuration' should be greater than 'minDuration'")
    start, end = _window(args)
    return Query(
        service=_service(args),
        operation=args.get("operation", ""),
        start=start,
        end=end,
        min_duration=shortest,
        max_duration=longest,
        tags=_wanted(args),
        limit=_limit(args),
    )


def trace_id(text: str) -> str:
    """A trace id as the store has it: 32 lower-case hex digits."""
    if not re.fullmatch("[0-9a-fA-F]{1,32}", text):
        raise ApiError(400, f"trace id {text!r} is not 1 to 32 hex digits")
    return text.lower().zfill(32)


def duration(text: str) -> int:
    """Nanoseconds from text such as 1.5s, 200ms or 1h30m; raises ValueError."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h|d)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 1.5s, 200ms or 1h30m")
    return min(int(sum(float(number) * UNITS[unit] for number, unit in parts)), queries.LATEST)


def _service(args: Mapping[str, str]) -> str:
    if not (service := args.get("service", "")):
        raise ApiError(400, "parameter 'service' is required")
    return service


def _duration(args: Mapping[str, str], name: str, default: int) -> int:
    return _parsed(args, name, duration) if args.get(name) else default


def _window(args: Mapping[str, str]) -> tuple[int, int]:
    now = time.time_ns()
    end = _parsed(args, "end", _micros) if args.get("end") else now
    if args.get("start"):
        return _parsed(args, "start", _micros), end
    lookback = args.get("lookback", "")
    # The page sends start beside a lookback of its own words, such as "custom".
    back = duration(lookback) if re.fullmatch("[0-9].*[a-z]", lookback) else duration("48h")
    return max(0, end - back), end


def _period(args: Mapping[str, str]) -> tuple[int, int]:
    end = _parsed(args, "endTs", int) if args.get("endTs") else time.time_ns() // 1_000_000
    back = _parsed(args, "lookback", int) if args.get("lookback") else 86_400_000
    return _bounded(end - back, 1_000_000), _bounded(end, 1_000_000)


def _micros(text: str) -> int:
    return _bounded(int(text), MICRO)


def _bounded(value: int, unit: int) -> int:
    return max(0, min(value * unit, queries.LATEST))


def _limit(args: Mapping[str, str]) -> int:
    limit = _parsed(args, "limit", int) if args.get("limit") else 100
    if limit < 1:
        raise ApiError(400, "parameter 'limit' is not at least 1")
    return min(limit, LIMIT)


def _wanted(args: Mapping[str, str]) -> dict[str, str]:
    text = args.get("tags", "")
    wanted = _parsed(args, "tags", json.loads) if text else {}
    if not isinstance(wanted, dict) or not all(isinstance(v, str) for v in wanted.values()):
        raise ApiError(400, "parameter 'tags' is not a JSON object of strings")
    return wanted


def _parsed(args: Mapping[str, str], name: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(args[name])
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"unable to parse param '{name}': {error}") from error


# What is answered


def short(identity: str) -> str:
    """A trace id as Jaeger writes it: 64-bit ones without their leading zeros."""
    return identity[16:] if identity.startswith("0" * 16) else identity


def _document(spans: list[Span]) -> dict[str, Any]:
    processes: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    documents = []
    for span in spans:
        process = {"serviceName": span.service, "tags": [_tag(tag) for tag in span.resource]}
        name = names.setdefault(json.dumps(process), f"p{len(names) + 1}")
        processes[name] = process
        documents.append(_span(span, name))
    return {
        "traceID": short(spans[0].trace_id),
        "spans": documents,
        "processes": processes,
        "warnings": None,
    }


def _span(span: Span, process: str) -> dict[str, Any]:
    return {
        "traceID": short(span.trace_id),
        "spanID": span.span_id,
        "operationName": span.name,
        "references": _references(span),
        "startTime": span.start // MICRO,
        "duration": span.duration // MICRO,
        "tags": [_tag(tag) for tag in queries.all_tags(span)],
        "logs": [_log(event) for event in span.events],
        "processID": process,
        "warnings": None,
    }


def _references(span: Span) -> list[dict[str, str]]:
    links = [_reference("FOLLOWS_FROM", link.trace_id, link.span_id) for link in span.links]
    if not span.parent_id:
        return links
    # As in Jaeger, a link to the parent stands in for it.
    followed = _reference("FOLLOWS_FROM", span.trace_id, span.parent_id)
    if followed in links:
        return [followed, *(link for link in links if link != followed)]
    return [_reference("CHILD_OF", span.trace_id, span.parent_id), *links]


def _reference(kind: str, trace: str, span: str) -> dict[str, str]:
    return {"refType": kind, "traceID": short(trace), "spanID": span}


def _log(event: Event) -> dict[str, Any]:
    fields = [_tag(tag) for tag in event.tags]
    if event.name and not any(tag.key == "event" for tag in event.tags):
        fields.insert(0, {"key": "event", "type": "string", "value": event.name})
    return {"timestamp": event.time // MICRO, "fields": fields}


def _tag(tag: Tag) -> dict[str, Any]:
    return {"key": tag.key, "type": tag.type, "value": tag.value}
