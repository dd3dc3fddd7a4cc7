"""Takes ended spans from OpenTelemetry's SDK, whoever made them, into the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import TraceFlags

from .. import guard
from . import encode, record
from .pending import Pending
from .prefixes import Prefixes

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from .recorder import Recorder

_SAMPLED = int(TraceFlags.SAMPLED)


class RecorderProcessor(SpanProcessor):
    """The SDK's span processor that records; there is nothing to flush and nothing to wait for."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._begun: dict[int, Pending] = {}
        self._prefixes = Prefixes()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Note the span that a request or task begins in this process, in case it is killed."""
        begins = span.parent is None or span.parent.is_remote
        if begins and _is_sampled(span):
            pending = Pending()
            try:
                self._begin(span, pending)
                if pending.place is not None:
                    self._begun[span.context.span_id] = pending
            except BaseException:
                # A signal's handler has raised: nobody will have this span, nor end it.
                pending.leave()
                self._begun.pop(span.context.span_id, None)
                raise

    def on_described(self, span: Span) -> None:
        """Note anew, with what was added to it, a span that was noted as it began."""
        pending = self._begun.get(span.context.span_id)
        if pending is not None:
            self._begin(span, pending)

    def on_end(self, span: ReadableSpan) -> None:
        """Record an ended span, if it is sampled."""
        if span.context is None:
            return
        pending = self._begun.get(span.context.span_id) or Pending()
        try:
            self._end(span, pending)
        except BaseException:
            # A signal's handler may raise at any call, and nobody else ends this span.
            self._end(span, pending)
            raise
        finally:
            self._begun.pop(span.context.span_id, None)

    def _begin(self, span: ReadableSpan, pending: Pending) -> None:
        try:
            kind = record.SPAN if _is_sampled(span) else record.UNSAMPLED
            self.recorder.begin(self._record(span, kind, encode.begun(span)[0]), pending)
        except BaseException as error:  # noqa: BLE001  raised on where it is to be
            pending.leave()
            guard.caught("recorder.on_start", error)

    @guard.guarded("recorder.on_end")
    def _end(self, span: ReadableSpan, pending: Pending) -> None:
        if _is_sampled(span):
            if not pending.payload:
                pending.payload = self._record(span, record.SPAN, encode.span(span))
            self.recorder.put(pending)
        elif pending.place is not None:
            self.recorder.give_up(pending)

    def shutdown(self) -> None:
        """Nothing: what is recorded is the agent's to send."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """True: what has ended is recorded."""
        return True

    def _record(self, span: ReadableSpan, kind: bytes, body: bytes) -> bytes:
        prefix = self._prefixes.of(span.resource, span.instrumentation_scope, kind)
        return prefix + body


def _is_sampled(span: ReadableSpan) -> bool:
    context = span._context  # noqa: SLF001  by its place: each property is a call
    return context is not None and context[3] & _SAMPLED != 0
