from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

from followthrough.agent.sender import Answer
from followthrough.agent.shipper import Shipper
from followthrough.recorder.processor import RecorderProcessor
from followthrough.recorder.recorder import Recorder


class Sink:
    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []

    def send(self, request: bytes, _timeout: float) -> Answer:
        self.requests.append(ExportTraceServiceRequest.FromString(request))
        return Answer(taken=True)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, 1 << 20)
    yield recorder
    recorder.close()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[trace.TracerProvider], None]:
    """Make a provider the global one for the test."""
    return lambda provider: monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)


@pytest.fixture
def provider(recorder: Recorder, use: Callable[[trace.TracerProvider], None]) -> TracerProvider:
    """The global provider, with the recorder alone."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RecorderProcessor(recorder))
    use(provider)
    return provider


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[], list[Span]]:
    """The spans in the ring that were not read yet."""

    def read() -> list[Span]:
        sink = Sink()
        Shipper(tmp_path, sink, 1).ship()
        return sink.spans

    return read
