"""What a message carries of its trace: the propagators' headers, and one of ours beside them.

Ours says when the message was sent, and for what a trace's own headers have no place: the first
send of a task that is retried, its last attempt, and the tasks that it waited for. Both are outside
input: what is broken counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags

from ..tracing import ids, propagation

HEADER = "followthrough"
MOST_LINKS = 128  # as many as OpenTelemetry keeps on a span
_NEVER = 2**53
_FLAGS = TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID
# By their text; others than these mean nothing here.
_FLAGS_OF = {f"{number:02x}": TraceFlags(number & _FLAGS) for number in range(256)}


class Lineage(NamedTuple):
    """Where a message comes from; `sent` is in seconds since 1970."""

    sent: float | None = None
    origin: SpanContext | None = None
    attempt: SpanContext | None = None
    links: tuple[SpanContext, ...] = ()


NONE = Lineage()


def read(headers: Mapping[str, Any]) -> Lineage:
    """The lineage in a message's headers, or as a worker keeps them."""
    value = headers.get(HEADER)
    # What it nearly always is comes first: to ask an abstract class is slow.
    if type(value) is not dict and not isinstance(value, Mapping):
        return NONE
    sent = value.get("sent")
    is_time = isinstance(sent, (float, int)) and 0 < sent < _NEVER
    links = value.get("links")
    return Lineage(
        sent=float(sent) if is_time else None,  # type: ignore[arg-type]
        origin=parse(value.get("origin")),
        attempt=parse(value.get("attempt")),
        links=_parsed(links) if isinstance(links, list) else (),
    )


def write(lineage: Lineage) -> dict[str, Any]:
    """The header's value: what JSON and AMQP both know."""
    value: dict[str, Any] = {"sent": lineage.sent}
    if lineage.origin is not None:
        value["origin"] = text(lineage.origin)
    if lineage.attempt is not None:
        value["attempt"] = text(lineage.attempt)
    if lineage.links:
        value["links"] = [text(each) for each in lineage.links[:MOST_LINKS]]
    return value


def text(span: SpanContext) -> str:
    """A span as W3C's traceparent."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & _FLAGS:02x}"


def parse(value: Any) -> SpanContext | None:
    """The span that a traceparent names; None if it is none."""
    return propagation.parsed(value, _FLAGS_OF)


def _parsed(values: Iterable[object]) -> tuple[SpanContext, ...]:
    found = (parse(value) for value, _ in zip(values, range(MOST_LINKS), strict=False))
    return tuple(each for each in found if each is not None)


def received(headers: Mapping[str, Any], base: Context) -> Context:
    """The context of a message's sender, as the propagators have it."""
    return propagation.received(propagation.from_message(headers), base).context


def trace_context(headers: Mapping[str, Any]) -> Context:
    """The OpenTelemetry context of a message; an empty one where it names none.

    What an attempt after the first is a child of is the first send, whose headers a retry keeps.
    """
    context = received(headers, Context())
    origin = read(headers).origin
    if origin is None:
        return context
    return trace.set_span_in_context(trace.NonRecordingSpan(origin), context)


def trace_ids(headers: Mapping[str, Any]) -> dict[str, str]:
    """The trace id as a log field; nothing where the headers name none."""
    found = ids.of(trace.get_current_span(trace_context(headers)))
    found.pop("span_id", None)
    return found
