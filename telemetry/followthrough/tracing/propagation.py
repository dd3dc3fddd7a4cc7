"""Trace context and baggage on their way in and out: checked and bounded, whoever sent them.

Headers are outside input, those of a message no less than those of a request: what is broken counts
as absent, and nothing here raises.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from opentelemetry import propagate, trace
from opentelemetry.baggage import _BAGGAGE_KEY
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import DEFAULT_TRACE_STATE as _NO_STATE
from opentelemetry.trace import Link, SpanContext, TraceFlags
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .current import get_current

# W3C Baggage wants at least these passed on; more is cut off at a whole entry.
MOST_BYTES = 8192
MOST_ENTRIES = 64
BAGGAGE, TRACEPARENT = "baggage", "traceparent"
_TRACEPARENT = "00-%032x-%016x-%02x"


class Received(NamedTuple):
    """The context that a span is begun in, and what it is linked to."""

    context: Context
    links: tuple[Link, ...]


def from_environ(environ: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a WSGI request that the propagators ask for."""
    found: dict[str, str] = {}
    for key, name in asked_for(propagate.get_global_textmap()).items():
        if key in environ and (checked := _checked(name, environ[key])):
            found[name] = checked
    return found


def from_message(headers: object) -> dict[str, str]:
    """The headers of a message that the propagators ask for; the message may be anything."""
    if type(headers) is not dict and not isinstance(headers, Mapping):
        return {}
    found = {}
    for name in asked_for(propagate.get_global_textmap()).values():
        value = headers.get(name)
        if value is not None and (checked := _checked(name, value)):
            found[name] = checked
    return found


def into_message(context: Context | None = None) -> dict[str, str]:
    """The headers that carry `context`, the current one by default, to who gets a message."""
    here = get_current() if context is None else context
    span: Any = here.get(_SPAN_KEY)
    if (
        span is not None and _BAGGAGE_KEY not in here and _is_usual(propagate._HTTP_TEXT_FORMAT)  # noqa: SLF001  without the API's call
    ):
        # By their places: each property of a span's context is a call.
        trace_id, span_id, _, flags, state, is_valid = span.get_span_context()
        if is_valid and (state is _NO_STATE or not state):
            # As most messages are, and in a fraction of the propagators' time.
            return {TRACEPARENT: _TRACEPARENT % (trace_id, span_id, flags)}
    headers: dict[str, str] = {}
    propagate.inject(headers, here)
    return {name: checked for name, value in headers.items() if (checked := _checked(name, value))}


def received(
    headers: Mapping[str, str],
    base: Context,
    *,
    trusted: bool = True,
    kept_baggage: Container[str] = (),
) -> Received:
    """What `headers` (of `from_environ` or `from_message`) add to the context `base`.

    Of a caller who isn't trusted the trace is linked to, not continued, and the baggage is dropped
    but for the entries whose names are in `kept_baggage`.
    """
    if not headers:
        return Received(base, ())
    if trusted:
        # As most callers send it alone, and in a fraction of the propagators' time.
        if len(headers) == 1 and TRACEPARENT in headers and is_usual():
            caller = parsed(headers[TRACEPARENT])
            if caller is not None:
                span = trace.NonRecordingSpan(caller)
                return Received(Context({**base, _SPAN_KEY: span}), ())
        return Received(_extracted(headers, base), ())
    stranger = trace.get_current_span(_extracted(_without_baggage(headers), Context()))
    kept = bounded_baggage(headers.get(BAGGAGE, ""), kept_baggage)
    context = _extracted({BAGGAGE: kept}, base) if kept else base
    return Received(context, _link(stranger.get_span_context()))


# An id of zeros is none.
_parts = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_FLAGS_OF = {f"{number:02x}": TraceFlags(number) for number in range(256)}
_new = tuple.__new__


def parsed(value: Any, flags_of: Mapping[str, TraceFlags] = _FLAGS_OF) -> SpanContext | None:
    """The span that a traceparent names in its usual form; None if it is of another, or no text."""
    try:
        parts = _parts(value)
    except TypeError:
        return None
    if parts is None:
        return None
    trace_id, span_id, flags = parts.groups()
    # As SpanContext makes it of valid ids.
    begun = int(trace_id, 16), int(span_id, 16), True, flags_of[flags], _NO_STATE, True
    return _new(SpanContext, begun)


def bounded_baggage(header: str, kept: Container[str] | None = None) -> str:
    """A baggage header within the bounds; with `kept` only the entries of these names."""
    entries = (entry.strip(" \t") for entry in header.split(","))
    return ",".join(_within_bounds(entry for entry in entries if _is_kept(entry, kept)))


def _within_bounds(entries: Iterable[str]) -> list[str]:
    found: list[str] = []
    size = -1
    for entry in entries:
        size += len(entry) + 1
        if size > MOST_BYTES or len(found) >= MOST_ENTRIES:
            break
        found.append(entry)
    return found


def _is_kept(entry: str, kept: Container[str] | None) -> bool:
    name, equals, _ = entry.partition("=")
    return bool(equals) and (kept is None or name.strip(" \t") in kept)


def _checked(name: str, value: object) -> str:
    """A header's text; empty where it is none, or longer than anything a propagator writes."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return ""
    if name == BAGGAGE:
        return bounded_baggage(value)
    return value if len(value) <= MOST_BYTES else ""


@functools.lru_cache(maxsize=8)
def asked_for(propagator: Any) -> dict[str, str]:
    """The headers that a propagator reads, by their names in a WSGI environ."""
    fields = sorted({field.lower() for field in propagator.fields})
    return {"HTTP_" + name.upper().replace("-", "_"): name for name in fields}


def is_usual() -> bool:
    """Whether W3C's trace context and baggage are written, the default, and nothing else."""
    return _is_usual(propagate.get_global_textmap())


@functools.lru_cache(maxsize=8)
def _is_usual(propagator: Any) -> bool:
    parts = getattr(propagator, "_propagators", ())
    kinds = [TraceContextTextMapPropagator, W3CBaggagePropagator]
    return type(propagator) is CompositePropagator and [type(each) for each in parts] == kinds


def _extracted(headers: Mapping[str, str], base: Context) -> Context:
    try:
        return propagate.extract(headers, base)
    except Exception:  # noqa: BLE001  propagators for other formats raise at what they don't expect
        return base


def _without_baggage(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != BAGGAGE}


def _link(caller: SpanContext) -> tuple[Link, ...]:
    if not caller.is_valid:
        return ()
    # Neither its flags nor its state mean anything here.
    return (Link(SpanContext(caller.trace_id, caller.span_id, is_remote=True)),)
