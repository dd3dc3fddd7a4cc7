"""What a line carries beside its own fields: what was bound, and the ids of the current span."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar, Token
from typing import Any

import structlog
from opentelemetry.context import Context, create_key, set_value
from opentelemetry.trace import Span
from opentelemetry.trace.propagation import _SPAN_KEY

from .. import redact
from ..tracing import ids
from ..tracing.current import get_current

Event = MutableMapping[str, Any]
Bound = Token[Mapping[str, Any]]

_bound: ContextVar[Mapping[str, Any]] = ContextVar("followthrough_bound", default={})  # noqa: B039
# What is bound here.
bound = _bound.get
# Where a context has the fields that its lines carry.
FIELDS = create_key("followthrough.fields")
# Structlog's own variables, none while nobody has bound any; to ask it copies the whole context.
of_structlog: Any = getattr(structlog.contextvars, "_CONTEXT_VARS", None)


def carrying(context: Context, **fields: Any) -> Context:
    """A context of OpenTelemetry whose lines carry these fields too, wherever it is attached."""
    carried: Any = context.get(FIELDS)
    return set_value(FIELDS, {**carried, **fields} if carried else fields, context)


def around(context: Context, span: Span, fields: dict[str, Any]) -> Context:
    """`context` with this current span, and lines that carry these fields.

    All in one go: each step of its own would copy the context.
    """
    carried: Any = context.get(FIELDS)
    if carried:
        fields = {**carried, **fields}
    return Context({**context, _SPAN_KEY: span, FIELDS: fields})


def bind(**fields: Any) -> Bound:
    """Add fields to each line of this context (thread, greenlet, coroutine) until `unbind`."""
    return _bound.set({**bound(), **fields})


def unbind(bound: Bound) -> None:
    """Undo a `bind`; nothing where it was made in another context, as a streamed body's may be."""
    with contextlib.suppress(ValueError):
        _bound.reset(bound)


def add_context(_logger: Any, _method: str, event: Event) -> Event:
    """Add to a line what is bound and the current span's ids; its own fields go first.

    A structlog processor, for a host's own configuration too.
    """
    carried: Any = get_current().get(FIELDS)
    for fields in (bound(), carried or {}):
        for key, value in fields.items():
            event.setdefault(key, value)
    if of_structlog is None or of_structlog:
        event = structlog.contextvars.merge_contextvars(_logger, _method, event)
    # Never one span's trace with another's id.
    if "trace_id" not in event:
        event.update(ids.current())
    return event


def is_bound() -> bool:
    """Whether a line carries more than what `carrying` adds to it, or may."""
    if bound() or of_structlog is None:
        return True
    return bool(of_structlog and structlog.contextvars.get_contextvars())


def redacted(_logger: Any, _method: str, event: Event) -> Event:
    """Mask the secrets of a line; a structlog processor, for a host's own configuration too."""
    return redact.fields(event)
