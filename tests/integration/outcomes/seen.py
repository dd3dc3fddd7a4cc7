"""What can be seen of a task from outside, and nothing else: spans, log lines, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SERVER, PRODUCER, CONSUMER = 2, 4, 5
ERROR = 2


@dataclass
class Seen:
    """Everything that arrived until one moment."""

    spans: list[Any]
    origin: dict[bytes, str]
    lines: list[dict[str, Any]]
    samples: list[Any]

    @cached_property
    def by_task(self) -> dict[str, list[Any]]:
        """The spans by the task's id, the earliest first."""
        found: dict[str, list[Any]] = {}
        for span in sorted(self.spans, key=lambda s: s.start_time_unix_nano):
            found.setdefault(str(attributes(span).get("messaging.message.id")), []).append(span)
        return found

    @cached_property
    def by_id(self) -> dict[bytes, Any]:
        return {span.span_id: span for span in self.spans}

    @cached_property
    def _ends(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for line in self.lines:
            if is_end(line):
                found.setdefault(str(line.get("task_id")), []).append(line)
        return found

    def of_kind(self, kind: int, task_id: str) -> list[Any]:
        return [span for span in self.by_task.get(task_id, []) if span.kind == kind]

    def attempts(self, task_id: str) -> list[Any]:
        """The spans of a task's attempts, by their start."""
        return self.of_kind(CONSUMER, task_id)

    def sends(self, task_id: str) -> list[Any]:
        return self.of_kind(PRODUCER, task_id)

    def ends(self, task_id: str) -> list[dict[str, Any]]:
        """The terminal lines of a task, in the order of the log."""
        return sorted(self._ends.get(task_id, []), key=lambda line: str(line["timestamp"]))

    def of_service(self, service: str, kind: int = CONSUMER) -> list[Any]:
        found = [s for s in self.spans if s.kind == kind and self.origin[s.span_id] == service]
        return sorted(found, key=lambda s: s.start_time_unix_nano)

    def counted(self, task: str) -> Counter[tuple[str, str]]:
        """How often a task is counted to have ended, by outcome and error type."""
        found: Counter[tuple[str, str]] = Counter()
        for sample in self.samples:
            if sample.name == "celery_task_results_total" and sample.labels["task"] == task:
                key = sample.labels["outcome"], sample.labels["error_type"]
                found[key] += int(sample.value)
        return +found

    def total(self, name: str) -> float:
        return sum(sample.value for sample in self.samples if sample.name == name)


def is_end(line: dict[str, Any]) -> bool:
    return "outcome" in line and str(line.get("event", "")).startswith("task.")


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in span.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


def texts(span: Any) -> str:
    """All that a span says in words: its status, its events and its attributes."""
    events = (f"{e.name} {attributes(e)}" for e in span.events)
    return " | ".join([span.status.message, *events, str(attributes(span))])


def seconds(span: Any) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


def linked(span: Any) -> set[bytes]:
    return {link.span_id for link in span.links}


def brief(spans: Iterable[Any]) -> list[str]:
    """Spans for a person who looks for the one that is wrong."""
    return [
        f"{s.name} {attributes(s).get('celery.outcome')} {attributes(s).get('error.type', '')}"
        f" status={s.status.code} {seconds(s):.3f} s"
        for s in spans
    ]
