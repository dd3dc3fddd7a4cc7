"""A trace laid out as rows of a waterfall: who called whom, when, for how long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .span import Event, Span

TICKS = 5
# Where a bar leaves no room after it for its duration, it goes into the bar, or before it.
NEAR_END, WIDE = 84.0, 16.0


@dataclass(frozen=True)
class Mark:
    """An event's place on the time axis, in percent."""

    left: float
    event: Event
    error: bool


@dataclass(frozen=True)
class Row:
    """One span; `left` and `width` are percent of the trace, times nanoseconds.

    `waited` is the time since the end of the span that queued this one, 0 where none did.
    `orphan` says that the parent isn't here. `self_time` is what no child accounts for.
    """

    span: Span
    depth: int
    left: float
    width: float
    offset: int
    waited: int
    waited_left: float
    self_time: int
    orphan: bool
    marks: list[Mark]

    @property
    def label(self) -> str:
        """Where the duration stands: after, before or inside the bar."""
        if self.left + self.width <= NEAR_END:
            return "after"
        return "inside" if self.width >= WIDE else "before"

    @property
    def error(self) -> str:
        """What went wrong in a line: the status text, else the first exception's."""
        if not self.span.failed:
            return ""
        return self.span.message or next(
            (text for mark in self.marks if (text := _exception(mark.event))), "error"
        )


@dataclass(frozen=True)
class Waterfall:
    """The rows of a trace in reading order; times are unix nanoseconds."""

    start: int
    end: int
    rows: list[Row]
    root: Span
    services: dict[str, int]
    errors: int

    @property
    def duration(self) -> int:
        """Nanoseconds from the first start to the last end."""
        return self.end - self.start

    @property
    def ticks(self) -> list[tuple[float, int]]:
        """The axis: percent and nanoseconds since the start."""
        steps = TICKS - 1
        return [(100 * i / steps, self.duration * i // steps) for i in range(TICKS)]


def lay_out(spans: list[Span]) -> Waterfall:
    """The waterfall of a trace's spans, of which there is at least one."""
    start, end = min(s.start for s in spans), max(s.end for s in spans)
    children = _children(spans)
    known = {span.span_id: span for span in spans}
    ordered = _ordered(spans, children)
    rows = [
        _row(span, depth, known.get(span.parent_id), children[span.span_id], (start, end))
        for span, depth in ordered
    ]
    services: dict[str, int] = defaultdict(int)
    for span in spans:
        services[span.service] += 1
    errors = sum(span.failed for span in spans)
    return Waterfall(start, end, rows, ordered[0][0], dict(sorted(services.items())), errors)


def _children(spans: list[Span]) -> dict[str, list[Span]]:
    children: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if span.parent_id:
            children[span.parent_id].append(span)
    return children


def _ordered(spans: list[Span], children: dict[str, list[Span]]) -> list[tuple[Span, int]]:
    known = {span.span_id for span in spans}
    roots = sorted(
        (span for span in spans if span.parent_id not in known),
        key=lambda s: (bool(s.parent_id), s.start),
    )
    seen: set[str] = set()
    rows: list[tuple[Span, int]] = []
    # Spans that are each other's parents hang on no root; they follow at the end.
    for root in [*roots, *spans]:
        rows += _under(root, children, seen)
    return rows


def _under(
    root: Span, children: dict[str, list[Span]], seen: set[str]
) -> Iterable[tuple[Span, int]]:
    stack = [(root, 0)]
    while stack:
        span, depth = stack.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        yield span, depth
        stack += [(child, depth + 1) for child in reversed(children[span.span_id])]


def _row(
    span: Span, depth: int, parent: Span | None, children: list[Span], window: tuple[int, int]
) -> Row:
    waited = _waited(span, parent)
    return Row(
        span=span,
        depth=depth,
        left=_percent(span.start, window),
        width=_percent(span.end, window) - _percent(span.start, window),
        offset=span.start - window[0],
        waited=waited,
        waited_left=_percent(span.start - waited, window),
        self_time=span.duration - _covered(span, children),
        orphan=bool(span.parent_id) and parent is None,
        marks=[_mark(event, window) for event in span.events],
    )


def _percent(time: int, window: tuple[int, int]) -> float:
    start, end = window
    return round(100 * min(1.0, max(0.0, (time - start) / max(1, end - start))), 3)


def _waited(span: Span, parent: Span | None) -> int:
    queued = parent is not None and (parent.kind, span.kind) == ("producer", "consumer")
    return max(0, span.start - parent.end) if parent and queued else 0


def _covered(span: Span, children: list[Span]) -> int:
    covered, reached = 0, span.start
    for child in children:
        end = min(child.end, span.end)
        covered += max(0, end - max(child.start, reached))
        reached = max(reached, end)
    return covered


def _mark(event: Event, window: tuple[int, int]) -> Mark:
    return Mark(_percent(event.time, window), event, event.name == "exception")


def _exception(event: Event) -> str:
    held = {tag.key: str(tag.value) for tag in event.tags}
    parts = [held.get("exception.type", ""), held.get("exception.message", "")]
    return ": ".join(part for part in parts if part)
