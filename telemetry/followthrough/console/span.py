"""A span as the built-in store keeps it: plain values, no protobuf."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

MISSING_SERVICE = "missing-service-name"


class Tag(NamedTuple):
    """One attribute; `type` is one of Jaeger's: string, bool, int64, float64, binary."""

    key: str
    type: str
    value: Any


class Event(NamedTuple):
    """Something that happened in a span, at `time` (unix nanoseconds)."""

    time: int
    name: str
    tags: list[Tag]


class Link(NamedTuple):
    """Another span that this one points to."""

    trace_id: str
    span_id: str
    tags: list[Tag]


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span; times are unix nanoseconds, ids are lower-case hex, "" means none."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    start: int
    end: int
    status: str
    message: str
    trace_state: str
    scope: str
    scope_version: str
    tags: list[Tag]
    events: list[Event]
    links: list[Link]
    resource: list[Tag]

    @property
    def failed(self) -> bool:
        """Whether the span's status is an error."""
        return self.status == "ERROR"

    @property
    def duration(self) -> int:
        """Nanoseconds between start and end."""
        return self.end - self.start

    def to_json(self) -> str:
        """The span as one JSON array, in the order of the fields."""
        values = [getattr(self, field.name) for field in fields(self)]
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Span:
        """The span that `to_json` wrote."""
        values = dict(zip((field.name for field in fields(cls)), json.loads(text), strict=True))
        values |= {
            "tags": _tags(values["tags"]),
            "events": [Event(time, name, _tags(own)) for time, name, own in values["events"]],
            "links": [Link(trace, span, _tags(own)) for trace, span, own in values["links"]],
            "resource": _tags(values["resource"]),
        }
        return cls(**values)


def _tags(values: list[list[Any]]) -> list[Tag]:
    return [Tag(*value) for value in values]
