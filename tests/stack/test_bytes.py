"""The real Collector takes all that is recorded, and passes on what the stock encoder writes."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider, sampling

from followthrough.recorder import request
from followthrough.recorder.logs import LogRecorder, RecorderLogProcessor
from followthrough.recorder.places import LOGS, SPANS
from followthrough.recorder.processor import RecorderProcessor
from followthrough.recorder.recorder import Recorder
from followthrough.tracing.light_tracer import LightTracer
from tests.stack import programs
from tests.support import free_port, program_env, python, running, wait_for
from tests.unit.followthrough.recorder.test_encode import CONTEXTS, exact
from tests.unit.followthrough.recorder.test_logs import EMITTED, Beside, Kept
from tests.unit.followthrough.tracing.test_light import CALLS, STARTS, after

pytestmark = pytest.mark.stack

# Nothing between what comes in and what goes out.
CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}}}
exporters: {{otlp: {{endpoint: "127.0.0.1:{sink}", tls: {{insecure: true}}}}}}
service:
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp]}}
    logs: {{receivers: [otlp], exporters: [otlp]}}
  telemetry:
    metrics:
      readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]
"""


class Sink:
    """Keeps what the Collector sends on."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.logs: list[Any] = []
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(self), self.server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(self), self.server)


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.sink.spans += [(resource.resource, scope.scope, each) for each in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                found = [(resource.resource, scope.scope, each) for each in scope.log_records]
                self.sink.logs += found
        return logs_service_pb2.ExportLogsServiceResponse()


class Through:
    """The Collector with a sink behind it."""

    def __init__(self, sink: Sink, otlp: int, metrics: int) -> None:
        self.sink, self.otlp, self.metrics = sink, otlp, metrics

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.otlp}"

    def takes(self, path: str, body: bytes) -> bool:
        """Whether the Collector takes all of a request; raises HTTPError."""
        headers = {"Content-Type": "application/x-protobuf"}
        sent = urllib.request.Request(self.endpoint + path, body, headers)
        with urllib.request.urlopen(sent, timeout=10) as answer:
            # A partial success of nothing is one.
            return answer.read() in (b"", b"\n\x00")

    def counted(self, name: str) -> float:
        """What the Collector itself has counted."""
        text = programs.get(f"http://127.0.0.1:{self.metrics}/metrics")
        lines = [line for line in text.splitlines() if line.startswith(f"otelcol_receiver_{name}")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Through]:
    folder = tmp_path_factory.mktemp("otelcol")
    sink, otlp, metrics = Sink(), free_port(), free_port()
    sink.server.start()
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(otlp=otlp, sink=sink.port, metrics=metrics))
    argv = [programs.program("otelcol"), "--config", str(config)]
    with running(argv, folder / "log"):
        found = Through(sink, otlp, metrics)
        wait_for(lambda: found.counted("") >= 0, "the Collector is up")
        yield found
    sink.server.stop(None)


def parts(found: tuple[Any, Any, Any]) -> tuple[bytes, bytes, bytes]:
    resource, scope, message = found
    for link in getattr(message, "links", ()):
        # The Collector leaves out an id of zeros, which is none.
        link.trace_id, link.span_id = link.trace_id.lstrip(b"\0"), link.span_id.lstrip(b"\0")
    return exact(resource), exact(scope), exact(message)


def of_spans(message: Any) -> list[tuple[bytes, bytes, bytes]]:
    return [
        parts((resource.resource, scope.scope, span))
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def of_logs(message: Any) -> list[tuple[bytes, bytes, bytes]]:
    return [
        parts((resource.resource, scope.scope, each))
        for resource in message.resource_logs
        for scope in resource.scope_logs
        for each in scope.log_records
    ]


class Kit:
    """Makes light spans, the SDK's and log records, and keeps their records."""

    def __init__(self, recorder: Any) -> None:
        provider = TracerProvider(sampler=sampling.ALWAYS_ON, shutdown_on_exit=False)
        processor = RecorderProcessor(recorder)
        provider.add_span_processor(processor)
        stock = provider.get_tracer("scope", "1", "schema", {"of": "scope"})
        assert isinstance(stock, sdk.Tracer)
        # In this order: the SDK changes the links that it is given.
        self.tracers = (LightTracer(stock, processor), stock)
        self.beside, logs = Beside(), LoggerProvider(provider.resource, shutdown_on_exit=False)
        logs.add_log_record_processor(RecorderLogProcessor(recorder))
        logs.add_log_record_processor(self.beside)
        self.logger = logs.get_logger("scope", "1", "schema")
        self.lines = LogRecorder(recorder, lambda: provider.resource)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(STARTS, CALLS), min_size=1, max_size=10),
    st.lists(EMITTED, max_size=5),
    CONTEXTS | st.none(),
)
@pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
def test_whatever_is_recorded_comes_out_as_the_stock_encoder_writes_it(
    through: Through, spans: Any, lines: Any, parent: Any
) -> None:
    kept = Kept()
    kit = Kit(_Spans(kept))
    context = trace.set_span_in_context(trace.NonRecordingSpan(parent)) if parent else None
    made = [after(tracer, *each, context) for each in spans for tracer in kit.tracers]
    expected = of_spans(encode_spans(made))
    before = len(through.sink.spans)
    assert through.takes("/v1/traces", request.traces(kept.payloads))
    wait_for(lambda: len(through.sink.spans) >= before + len(made), "all spans come out")
    assert sorted(map(parts, through.sink.spans[before:])) == sorted(expected)

    kept.payloads.clear()
    for each in lines:
        kit.logger.emit(LogRecord(context=context, **each))
    before = len(through.sink.logs)
    assert through.takes("/v1/logs", request.logs(kept.payloads))
    wait_for(lambda: len(through.sink.logs) >= before + len(lines), "all log records come out")
    expected = of_logs(encode_logs(kit.beside.records))
    assert sorted(map(parts, through.sink.logs[before:])) == sorted(expected)


class _Spans:
    """The part of a recorder that spans need too."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def put(self, pending: Any, _ring: str = SPANS) -> None:
        self._kept.put(pending, LOGS)

    def keep(self, *_: object) -> bool:
        return False

    note = keep

    def begin(self, *_: object) -> None: ...

    def give_up(self, *_: object) -> None: ...


ATTRIBUTES: dict[str, Any] = {
    "text": "x \N{PILE OF POO}",
    "half": "half \ud800",
    "empty": "",
    "bool": True,
    "int": -(2**63),
    "huge": 2**70,
    "float": float("nan"),
    "infinite": float("-inf"),
    "bytes": b"\x00\xff",
    "mixed": ["a", 1, None, 2.5, [b"x"], {"k": [None]}],
    "map": {"a": {"b": [1]}},
    "none": None,
    "long": "x" * 20_000,
}


def test_all_that_is_recorded_goes_through_rings_and_agent_and_none_is_refused(
    tmp_path: Path, through: Through
) -> None:
    state, env = (
        tmp_path / "state",
        {
            "FOLLOWTHROUGH_STATE_DIR": str(tmp_path / "state"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": through.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
        },
    )
    spans, logs = len(through.sink.spans), len(through.sink.logs)
    refused = through.counted("refused_")
    recorder = Recorder(state, 1 << 25)
    kit = Kit(recorder)
    calls = [
        ("add_event", ("event", ATTRIBUTES, 1)),
        ("add_link", (trace.SpanContext(1, 2, is_remote=True), ATTRIBUTES)),
        ("set_status", (trace.StatusCode.ERROR, "half \ud800")),
    ]
    with running(python("-m", "followthrough.cli", "agent"), tmp_path / "log", program_env(env)):
        for number in range(100):
            start = {"name": f"half \ud800 {number}", "attributes": ATTRIBUTES}
            for tracer in kit.tracers:
                after(tracer, start, calls, None)
            kit.lines.log("logger", "error", ATTRIBUTES, ATTRIBUTES, event_name="event")
            kit.logger.emit(LogRecord(body="line", attributes={"text": "x"}))
        wait_for(lambda: len(through.sink.spans) >= spans + 200, "all spans", 20)
        wait_for(lambda: len(through.sink.logs) >= logs + 200, "all log records", 20)
    recorder.close()
    assert len(through.sink.spans) == spans + 200
    assert len(through.sink.logs) == logs + 200
    assert through.counted("refused_") == refused == 0
