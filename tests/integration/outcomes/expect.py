"""What has to be seen of a task, and the cells that say whether it was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from tests.integration.outcomes.seen import (
    ERROR,
    Seen,
    attributes,
    brief,
    linked,
    seconds,
    texts,
)

Cell = Literal["span", "log", "count", "parent", "cause"]
CELLS: tuple[Cell, ...] = ("span", "log", "count", "parent", "cause")
# Seconds by which two clocks of one machine, or a line and its span, may differ.
CLOCK = 0.1
# The outcomes that a span's status does not call an error.
FINE = {"success", "retry", "ignored", "requeued", "revoked"}


class Problem(NamedTuple):
    cell: Cell
    text: str


@dataclass(frozen=True)
class End:
    """How one attempt ends.

    `cause` is a pattern that the span and the log line both have in what they say.
    """

    outcome: str
    error: str = ""
    cause: str = ""
    least: float = 0.0
    most: float = 10.0
    redelivered: bool = False
    # The task that takes the place of the one before, under its id.
    replacement: str = ""


Check = Callable[[Seen], Iterable[Problem]]


@dataclass
class Told:
    """A task and the ends of its attempts, in their order.

    `parent` is "send" for the span that published it, "none", "task:" and the id of the task
    whose span it is, or a span's id. `label` is what the metric calls the task. `spans` and `lines`
    find what has no id of a task. `system` is empty where there is no broker. `apart` says that the
    ends are those of several messages, not of one that came again.
    """

    row: int
    variant: str
    task: str
    id: str
    ends: tuple[End, ...]
    parent: str | bytes = "send"
    label: str = ""
    since: int = 0
    checks: tuple[Check, ...] = ()
    spans: Callable[[Seen], list[Any]] | None = None
    lines: Callable[[Seen], list[dict[str, Any]]] | None = None
    system: str = "redis"
    operation: str = "process"
    apart: bool = False

    def found_spans(self, seen: Seen) -> list[Any]:
        return self.spans(seen) if self.spans else seen.attempts(self.id)

    def found_lines(self, seen: Seen) -> list[dict[str, Any]]:
        return self.lines(seen) if self.lines else seen.ends(self.id)

    def complete(self, seen: Seen) -> bool:
        """Whether as much was seen as is to be; more may come."""
        wanted = len(self.ends)
        return len(self.found_spans(seen)) >= wanted and len(self.found_lines(seen)) >= wanted


def problems(told: Told, seen: Seen) -> Iterator[Problem]:
    """Everything that isn't as expected of one task, its count aside."""
    spans, lines = told.found_spans(seen), told.found_lines(seen)
    if len(spans) != len(told.ends):
        yield Problem("span", f"{len(told.ends)} expected, {len(spans)} seen: {brief(spans)}")
    if len(lines) != len(told.ends):
        yield Problem("log", f"{len(told.ends)} expected, {len(lines)} seen: {_short(lines)}")
    if not spans:
        yield from (Problem(cell, "there is no span to ask") for cell in ("parent", "cause"))
    earlier: list[Any] = []
    for end, span in zip(told.ends, spans, strict=False):
        yield from _span(told, end, span)
        yield from _parent(told, end, span, earlier, seen)
        earlier.append(span)
    for end, line, span in _matched(told.ends, lines, spans):
        yield from _line(told, end, line, span)
        yield from _cause(end, line, span)
    if len(spans) == len(told.ends):
        for check in told.checks:
            yield from check(seen)


def _short(lines: list[dict[str, Any]]) -> list[str]:
    return [f"{x['event']} {x['outcome']} {x.get('error_type', '')}" for x in lines]


def _matched(ends: tuple[End, ...], lines: list[Any], spans: list[Any]) -> list[tuple[Any, ...]]:
    """Ends with their lines and spans; two attempts may be told in the other order."""
    by_span = {line.get("span_id"): line for line in lines}
    found = []
    left = list(lines)
    for end, span in zip_longest(ends, spans[: len(ends)]):
        line = by_span.get(span.span_id.hex()) if span is not None else None
        if line is None:
            line = next((each for each in left if each["outcome"] == end.outcome), None)
        if line in left:
            left.remove(line)
        if line is not None:
            found.append((end, line, span))
    return found


def _span(told: Told, end: End, span: Any) -> Iterator[Problem]:
    has = attributes(span)
    wanted = {
        "name": (f"{told.operation} {end.replacement or told.task}", span.name),
        "celery.outcome": (end.outcome, has.get("celery.outcome")),
        "error.type": (end.error or None, has.get("error.type")),
        "status": (end.outcome not in FINE, span.status.code == ERROR),
        "messaging.message.id": (told.id or None, has.get("messaging.message.id")),
    }
    if told.system:
        wanted |= {
            "messaging.system": (told.system, has.get("messaging.system")),
            "messaging.operation.type": (told.operation, has.get("messaging.operation.type")),
            "messaging.destination.name": ("matrix", has.get("messaging.destination.name")),
        }
    wrong = {key: pair for key, pair in wanted.items() if pair[0] != pair[1]}
    if wrong:
        yield Problem("span", f"expected and seen differ in {wrong}")
    if not end.least - CLOCK <= seconds(span) <= end.most:
        yield Problem("span", f"{end.least} to {end.most} s expected, {seconds(span):.3f} seen")
    if span.start_time_unix_nano < told.since - CLOCK * 1e9:
        yield Problem("span", "it starts before the task was sent")


def _parent(told: Told, end: End, span: Any, earlier: list[Any], seen: Seen) -> Iterator[Problem]:
    sends = seen.sends(told.id)
    wanted = _wanted_parent(told, end, sends, seen)
    if wanted is None:
        yield Problem("parent", f"there is no span that it could be ({told.parent})")
        return
    if span.parent_span_id != wanted:
        other = seen.by_id.get(span.parent_span_id)
        yield Problem("parent", f"it is {other.name if other else span.parent_span_id.hex()}")
    elif wanted in seen.by_id and seen.by_id[wanted].trace_id != span.trace_id:
        yield Problem("parent", "its trace is another")
    if earlier and not end.replacement and not told.apart:
        yield from _again(end, span, earlier, sends)


def _wanted_parent(told: Told, end: End, sends: list[Any], seen: Seen) -> bytes | None:
    if isinstance(told.parent, bytes):
        return told.parent
    if told.parent == "none":
        return b""
    number = 1 if end.replacement else 0
    if told.parent != "send":
        sends, number = seen.attempts(told.parent.removeprefix("task:")), 0
    return sends[number].span_id if len(sends) > number else None


def _again(end: End, span: Any, earlier: list[Any], sends: list[Any]) -> Iterator[Problem]:
    """A later attempt: of a retry, or of a message that came again."""
    has, before = attributes(span), earlier[-1]
    if before.span_id not in linked(span):
        yield Problem("parent", "the attempt before is not linked")
    if end.redelivered:
        if not any("redelivered" in key and value is True for key, value in has.items()):
            yield Problem("span", f"it is not marked as redelivered: {has}")
        return
    if has.get("celery.retries") != len(earlier):
        yield Problem("span", f"celery.retries is {has.get('celery.retries')}")
    resent = [s for s in sends if s.parent_span_id == before.span_id]
    if len(resent) != 1:
        yield Problem("parent", f"{len(resent)} send spans below the attempt before")
    elif resent[0].span_id not in linked(span):
        yield Problem("parent", "the retry's send span is not linked")


def _line(told: Told, end: End, line: dict[str, Any], span: Any) -> Iterator[Problem]:
    wanted = {
        "outcome": (end.outcome, line.get("outcome")),
        "error_type": (end.error, line.get("error_type") or ""),
        "task": (end.replacement or told.task, line.get("task")),
    }
    if span is not None:
        wanted["trace_id"] = (span.trace_id.hex(), line.get("trace_id"))
        wanted["span_id"] = (span.span_id.hex(), line.get("span_id"))
    wrong = {key: pair for key, pair in wanted.items() if pair[0] != pair[1]}
    if wrong:
        yield Problem("log", f"expected and seen differ in {wrong}")
    if span is not None and not _near(line.get("duration"), seconds(span)):
        yield Problem("log", f"{line['duration']} s here, {seconds(span):.3f} in the span")


def _near(duration: float | None, ran: float) -> bool:
    # The worker's main process counts from when it gave the task to its pool.
    return duration is None or abs(duration - ran) <= max(0.75, 0.2 * ran)


def _cause(end: End, line: dict[str, Any], span: Any) -> Iterator[Problem]:
    said = {"the line": str({key: line.get(key) for key in ("error", "exception", "reason")})}
    if span is not None:
        said["the span"] = texts(span)
    for who, text in said.items():
        if end.cause and not re.search(end.cause, text):
            yield Problem("cause", f"{who} does not say {end.cause!r}: {text[:400]}")


def counts(tolds: list[Told], seen: Seen) -> Iterator[tuple[Told, Problem]]:
    """Each task's counts against the sum of what its messages should have come to."""
    wanted: dict[str, Counter[tuple[str, str]]] = {}
    members: dict[str, list[Told]] = {}
    for told in tolds:
        for end in told.ends:
            label = told.label or end.replacement or told.task
            wanted.setdefault(label, Counter())[end.outcome, end.error] += 1
            members.setdefault(label, []).append(told)
    for label, expected in wanted.items():
        found = seen.counted(label)
        for told in members[label] if expected != found else ():
            text = f"{label}: expected {dict(expected)}, seen {dict(found)}"
            yield told, Problem("count", text)


def table(titles: dict[int, str], wrong: dict[int, list[Problem]]) -> str:
    """The rows, and which of their cells are true."""
    width = max(map(len, titles.values()))
    head = f"{'':>2} {'':{width}} " + " ".join(f"{cell:>6}" for cell in CELLS)
    rows = [head]
    for number, title in sorted(titles.items()):
        false = {problem.cell for problem in wrong.get(number, [])}
        cells = " ".join(f"{'FALSE' if cell in false else 'true':>6}" for cell in CELLS)
        rows.append(f"{number:>2} {title:{width}} {cells}")
    return "\n".join(rows)
