"""What can be asked of the trace store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .span import Span, Tag
from .store import Store

Condition = tuple[str, tuple[object, ...]]

LATEST = 2**63 - 1
# The tags that Jaeger makes of a span's other fields; an empty one is left out.
MADE: dict[str, Callable[[Span], str]] = {
    "event": lambda _: "",
    "error": lambda _: "",
    "otel.scope.name": lambda span: span.scope,
    "otel.scope.version": lambda span: span.scope_version,
    "otel.status_code": lambda span: "" if span.status == "UNSET" else span.status,
    "otel.status_description": lambda span: span.message,
    "span.kind": lambda span: span.kind,
    "w3c.tracestate": lambda span: span.trace_state,
}


@dataclass(frozen=True)
class Query:
    """Which traces: those with a span that fits all of this; times are unix nanoseconds."""

    service: str = ""
    operation: str = ""
    start: int = 0
    end: int = LATEST
    min_duration: int = 0
    max_duration: int = LATEST
    errors: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    limit: int = 20


@dataclass(frozen=True)
class Summary:
    """One trace of a list; times are unix nanoseconds, `services` counts spans by service."""

    trace_id: str
    start: int
    end: int
    spans: int
    errors: int
    service: str
    name: str
    services: dict[str, int]

    @property
    def duration(self) -> int:
        """Nanoseconds from the first start to the last end."""
        return self.end - self.start


def services(store: Store) -> list[str]:
    """Every service that sent a span."""
    with store.reading() as connection:
        rows = connection.execute("SELECT DISTINCT service FROM operations ORDER BY service")
        return [service for (service,) in rows]


def operations(store: Store, service: str) -> list[tuple[str, str]]:
    """The span names of a service with their kinds."""
    text = "SELECT name, kind FROM operations WHERE service = ? ORDER BY name, kind"
    with store.reading() as connection:
        return list(connection.execute(text, (service,)))


def trace(store: Store, trace_id: str) -> list[Span]:
    """The spans of a trace by start time, none when it isn't known."""
    text = "SELECT body FROM spans WHERE trace_id = ? ORDER BY start, span_id"
    with store.reading() as connection:
        return [Span.from_json(body) for (body,) in connection.execute(text, (trace_id,))]


def find(store: Store, query: Query) -> list[Summary]:
    """The traces that fit, the newest first."""
    where, values = _conditions(query)
    text = (
        "SELECT trace_id, start, end, spans, errors, root_service, root_name FROM traces "  # noqa: S608
        f"WHERE start <= ? AND end >= ? AND {where} ORDER BY start DESC LIMIT ?"
    )
    with store.reading() as connection:
        connection.create_function(
            "fits", 1, lambda body: fits(Span.from_json(body), query.tags), deterministic=True
        )
        rows = connection.execute(text, (query.end, query.start, *values, query.limit)).fetchall()
        counts = "SELECT service, count(*) FROM spans WHERE trace_id = ? GROUP BY 1 ORDER BY 1"
        return [_summary(row, dict(connection.execute(counts, (row[0],)))) for row in rows]


def _summary(row: tuple[Any, ...], services: dict[str, int]) -> Summary:
    trace_id, start, end, spans, errors, service, name = row
    return Summary(trace_id, start, end, spans, errors, service, name, services)


def _conditions(query: Query) -> tuple[str, list[object]]:
    duration: Condition = ("s.duration BETWEEN ? AND ?", (query.min_duration, query.max_duration))
    chosen: list[tuple[bool, Condition]] = [
        (bool(query.service), ("s.service = ?", (query.service,))),
        (bool(query.operation), ("s.name = ?", (query.operation,))),
        (query.min_duration > 0 or query.max_duration < LATEST, duration),
        (query.errors, ("s.error", ())),
        *((True, _mentions(key)) for key in query.tags if key not in MADE),
        (bool(query.tags), ("fits(s.body)", ())),
    ]
    conditions = [condition for wanted, condition in chosen if wanted]
    if not conditions:
        return "1", []
    inner = " AND ".join(["s.trace_id = traces.trace_id", *(text for text, _ in conditions)])
    values = [value for _, own in conditions for value in own]
    return f"EXISTS (SELECT 1 FROM spans s WHERE {inner})", values  # noqa: S608


def _mentions(key: str) -> Condition:
    # Cheap, and spares most bodies the parsing.
    return "instr(s.body, ?)", (json.dumps(key, ensure_ascii=False)[1:-1],)


def fits(span: Span, wanted: dict[str, str]) -> bool:
    """Whether each wanted tag is on the span, its resource or one of its events."""
    held = {(tag.key, as_text(tag)) for tag in [*all_tags(span), *span.resource]}
    for event in span.events:
        held |= {("event", event.name), *((tag.key, as_text(tag)) for tag in event.tags)}
    return held >= set(wanted.items())


def as_text(tag: Tag) -> str:
    """A tag's value as people write it."""
    if isinstance(tag.value, float):
        return f"{tag.value:.17g}" if tag.value.is_integer() else repr(tag.value)
    return tag.value if isinstance(tag.value, str) else json.dumps(tag.value)


def all_tags(span: Span) -> list[Tag]:
    """The attributes of a span, with those that Jaeger makes of its other fields."""
    made = {key: make(span) for key, make in MADE.items()}
    tags = [*span.tags, *(Tag(key, "string", value) for key, value in made.items() if value)]
    if span.failed:
        tags = [*(tag for tag in tags if tag.key != "error"), Tag("error", "bool", True)]
    return sorted(tags, key=lambda tag: (tag.key, as_text(tag)))


def dependencies(store: Store, start: int, end: int) -> Counter[tuple[str, str]]:
    """How often a span of one service was the parent of another's, by (parent, child)."""
    text = (
        "SELECT p.service, c.service, count(*) FROM spans c "
        "JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_id "
        "WHERE c.start BETWEEN ? AND ? GROUP BY 1, 2"
    )
    with store.reading() as connection:
        rows = connection.execute(text, (start, end))
        return Counter({(parent, child): count for parent, child, count in rows})
