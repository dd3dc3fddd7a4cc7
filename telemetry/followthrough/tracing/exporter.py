"""OTLP over HTTP with the SDK's batch processor, bounded where the SDK would wait."""

from __future__ import annotations

import os
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor


class Exporter(OTLPSpanExporter):
    """The stock exporter; a forked child gets connections of its own."""

    def __init__(self, endpoint: str) -> None:
        session = requests.Session()
        # A socket shared with the parent would mix the two processes' requests.
        os.register_at_fork(after_in_child=session.close)
        super().__init__(endpoint=endpoint, session=session)

    def stop_retrying(self) -> None:
        """Let a batch that waits for its next try give up, and each further one try once."""
        event = getattr(getattr(self, "_client", None), "_shutdown_event", None)
        if event is not None:
            event.set()


class Processor(BatchSpanProcessor):
    """The stock batch processor with an end that is bounded in time."""

    def __init__(self, exporter: Exporter, **kwargs: Any) -> None:
        super().__init__(exporter, **kwargs)
        self._last_tries = exporter.stop_retrying

    def finish(self, seconds: float) -> None:
        """Export what is queued in the processor's own thread, for at most `seconds`."""
        self._last_tries()
        self._batch_processor.shutdown(timeout_millis=int(seconds * 1000))
