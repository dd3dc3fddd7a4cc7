"""A task that runs here, from its start to its end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import Token
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

if TYPE_CHECKING:
    from .process import Known


class Attempt:
    """A task that runs here. Each part of its start may be made again if a signal cuts it off."""

    # What it begins with is the class's.
    span: trace.Span = trace.INVALID_SPAN
    # The context that its span is a child in, but for the span above.
    context = Context()
    # The first send, which later attempts are children of.
    origin: SpanContext | None = None
    # What its lines carry beside its id.
    fields: Mapping[str, Any] = MappingProxyType({})
    # Seconds from its sending to its start, and those that its result backend took.
    wait: float | None = None
    stored = 0.0
    token: Token[Context] | None = None
    has_ended = is_told = False

    def __init__(self, request: Any, known: Known) -> None:
        self.request, self.known = request, known
        # The caller of an eager task may be dealing with an exception of its own.
        self.before = sys.exception()
        self.started = perf_counter()
