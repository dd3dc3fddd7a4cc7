"""Takes ended spans from OpenTelemetry's SDK, whoever made them, into the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanProcessor

from .. import guard
from . import encode, record, wire

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from .recorder import Recorder

_MOST_SCOPES = 1024


class RecorderProcessor(SpanProcessor):
    """The SDK's span processor that records; there is nothing to flush and nothing to wait for."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._prefixes: dict[tuple[int, int], tuple[Any, Any, bytes]] = {}

    @guard.guarded("recorder.on_end")
    def on_end(self, span: ReadableSpan) -> None:
        """Record an ended span, if it is sampled."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        body = encode.span(span)
        self._recorder.put(self._prefix(span) + b"\x12" + wire.varint(len(body)) + body)

    def shutdown(self) -> None:
        """Nothing: what is recorded is the agent's to send."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """True: what has ended is recorded."""
        return True

    def _prefix(self, span: ReadableSpan) -> bytes:
        resource, scope = span.resource, span.instrumentation_scope
        key = (id(resource), id(scope))
        found = self._prefixes.get(key)
        if found is None:
            prefix = record.prefix(encode.resource(resource), encode.scope(scope))
            # Both are kept, so that no other object gets their ids.
            found = (resource, scope, prefix)
            if len(self._prefixes) < _MOST_SCOPES:
                self._prefixes[key] = found
        return found[2]
