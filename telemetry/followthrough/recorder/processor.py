"""Takes ended spans from OpenTelemetry's SDK, whoever made them, into the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanProcessor

from .. import guard
from . import encode, record
from .inflight import Entry
from .writer import Pending

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from .recorder import Recorder

_MOST_SCOPES = 1024


class RecorderProcessor(SpanProcessor):
    """The SDK's span processor that records; there is nothing to flush and nothing to wait for."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._entries: dict[int, Entry] = {}
        self._prefixes: dict[tuple[int, int], tuple[Any, Any, bytes]] = {}

    @guard.guarded("recorder.on_start")
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Note the span that a request or task begins in this process, in case it is killed."""
        begins = span.parent is None or span.parent.is_remote
        if begins and span.context is not None and span.context.trace_flags.sampled:
            entry = Entry()
            try:
                self._recorder.begin(self._record(span), entry)
                if entry.table is not None:
                    self._entries[span.context.span_id] = entry
            except BaseException:
                # A signal's handler has raised: nobody will have this span, nor end it.
                entry.end()
                self._entries.pop(span.context.span_id, None)
                raise

    @guard.guarded("recorder.on_end")
    def on_end(self, span: ReadableSpan) -> None:
        """Record an ended span, if it is sampled."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        pending = Pending()
        try:
            self._end(span, span.context.span_id, pending)
        except BaseException:
            # A signal's handler may raise at any call, and nobody else ends this span.
            self._end(span, span.context.span_id, pending)
            raise

    def _end(self, span: ReadableSpan, span_id: int, pending: Pending) -> None:
        pending.payload = pending.payload or self._record(span)
        pending.entry = self._entries.get(span_id)
        self._recorder.put(pending)
        self._entries.pop(span_id, None)

    def shutdown(self) -> None:
        """Nothing: what is recorded is the agent's to send."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """True: what has ended is recorded."""
        return True

    def _record(self, span: ReadableSpan) -> bytes:
        return record.span(self._prefix(span), encode.span(span))

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
