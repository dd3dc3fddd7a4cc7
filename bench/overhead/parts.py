"""The budget: what each part of the kit costs alone, in a process of its own.

python -m bench.overhead.parts prints it.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.overhead import cpu
from bench.overhead.figures import spread
from tests.support import HOME, program_env

REPEATS = 9
LOOPS = 1000
# Room for all that is recorded: there is no agent.
RING = str(64 * 1024**2)
ATTRIBUTES = {
    "http.request.method": "POST",
    "http.route": "/publish",
    "http.response.status_code": 200,
    "url.path": "/publish",
    "url.scheme": "http",
    "server.address": "127.0.0.1",
    "client.address": "127.0.0.1",
    "user_agent.original": "curl/8.5.0",
}

Part = Callable[[], object]


def measure(python: Path) -> dict[str, dict[str, float]]:
    """Microseconds of each part, measured by the given Python."""
    with tempfile.TemporaryDirectory() as directory, cpu.on_the_first():
        env = program_env(
            {
                "FOLLOWTHROUGH_STATE_DIR": directory,
                "FOLLOWTHROUGH_START_AGENT": "false",
                "FOLLOWTHROUGH_RING_BYTES": RING,
                "FOLLOWTHROUGH_LOG_FORMAT": "json",
                "BENCH_RESULT": f"{directory}/result",
            }
        )
        argv = [str(python), "-m", "bench.overhead.parts"]
        # Log lines are written, to nowhere.
        subprocess.run(argv, cwd=HOME, env=env, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
        found: dict[str, dict[str, float]] = json.loads(Path(directory, "result").read_text())
    return found


def _all() -> dict[str, Part]:
    return {**_spans(), **_recording(), **_logs_and_metrics(), **_propagation()}


def _spans() -> dict[str, Part]:
    from opentelemetry import trace  # noqa: PLC0415  this process only
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    from followthrough.tracing import get_tracer  # noqa: PLC0415

    stock, ours = trace.get_tracer("bench"), get_tracer("bench")
    inside = trace.set_span_in_context(ours.start_span("around"))
    kind = trace.SpanKind.SERVER

    def of(tracer: trace.Tracer, context: Context | None = None) -> Part:
        return lambda: tracer.start_span(
            "POST /publish", context, kind=kind, attributes=ATTRIBUTES
        ).end()

    return {
        "span of the SDK, 8 attributes, no processor": of(TracerProvider().get_tracer("bench")),
        "span of the SDK, 8 attributes, to the ring, within another": of(stock, inside),
        "light span, 8 attributes, to the ring, within another": of(ours, inside),
        "light span that begins in this process: in the table too": of(ours),
    }


def _recording() -> dict[str, Part]:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import (  # noqa: PLC0415
        encode_spans,
    )

    from followthrough.recorder import encode, record  # noqa: PLC0415
    from followthrough.recorder.writer import Writer  # noqa: PLC0415

    span = _ended_span()
    prefix = record.prefix(encode.resource(span.resource), encode.scope(span.instrumentation_scope))
    entry = prefix + encode.span(span)
    writer = Writer(Path(os.environ["FOLLOWTHROUGH_STATE_DIR"], "bench.ring"), int(RING))
    return {
        "  encoding it": lambda: encode.span(span),
        "  encoding it by the exporter of the SDK, to bytes": lambda: encode_spans(
            [span]
        ).SerializeToString(),
        f"  writing its {len(entry)} bytes into a ring": lambda: writer.put(entry),
        "log record of OTLP, to the ring": _log_record(),
    }


def _log_record() -> Part:
    from opentelemetry import trace  # noqa: PLC0415

    from followthrough.recorder.logs import LogRecorder  # noqa: PLC0415
    from followthrough.recorder.recorder import Recorder  # noqa: PLC0415

    recorder = Recorder(Path(os.environ["FOLLOWTHROUGH_STATE_DIR"]), int(RING))
    lines = LogRecorder(recorder, lambda: trace.get_tracer_provider().resource)  # type: ignore[attr-defined]
    attributes = {"method": "POST", "route": "/publish", "status": 200, "duration": 0.001234}
    return lambda: lines.log("followthrough.flask", "info", "request.finished", attributes)


def _ended_span() -> Any:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    tracer = TracerProvider().get_tracer("bench")
    kind = trace.SpanKind.SERVER
    span = tracer.start_span("POST /publish", kind=kind, attributes=ATTRIBUTES)
    span.end()
    return span


def _logs_and_metrics() -> dict[str, Part]:
    import structlog  # noqa: PLC0415

    from followthrough import metrics, names, tell  # noqa: PLC0415
    from followthrough.outcome import decide, decide_request  # noqa: PLC0415

    logger = structlog.get_logger("followthrough.flask")
    success, answered = decide("SUCCESS", None), decide_request(200)
    fields = {"method": "POST", "route": "/publish", "status": 200, "duration": 0.001234}
    ids = {"request_id": "0" * 16, "trace_id": "0" * 32, "span_id": "0" * 16}
    line = functools.partial(logger.info, names.REQUEST_FINISHED, **fields, **ids)
    return {
        "log line": line,
        "log line, recorded as OTLP too": lambda: _recorded(line),
        "line and metric of a request": lambda: tell.request(
            answered, "POST", "/publish", "0" * 16, 0.001234, "0" * 32, "0" * 16
        ),
        "metric of a request": lambda: metrics.observe_request("POST", "/publish", answered, 0.001),
        "metric of a published task": lambda: metrics.count_published("bench.noop", "celery"),
        "metrics of a task": lambda: metrics.observe_task("bench.noop", success, 0.001),
    }


@functools.cache
def _log_recorder() -> Any:
    from followthrough import settings, tracing  # noqa: PLC0415

    env = {**os.environ, "OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}
    return tracing.log_recorder("bench", settings.load(settings.Settings, env))


def _recorded(line: Part) -> None:
    from followthrough.logs import records  # noqa: PLC0415

    records.use(_log_recorder())
    line()
    records.use(None)


def _propagation() -> dict[str, Part]:
    from opentelemetry import propagate, trace  # noqa: PLC0415

    span = trace.get_tracer("bench").start_span("POST /publish")
    context = trace.set_span_in_context(span)
    headers: dict[str, str] = {}
    propagate.inject(headers, context)
    return {
        "propagation: into headers": lambda: propagate.inject({}, context),
        "propagation: from headers": lambda: propagate.extract(headers),
    }


def _timed(part: Part) -> dict[str, float]:
    found = spread(_loop(part) for _ in range(REPEATS))
    assert found is not None  # noqa: S101  for the type checker
    return {"median": found.median, "low": found.low, "high": found.high}


def _loop(part: Part) -> float:
    begin = time.thread_time()
    for _ in range(LOOPS):
        part()
    return (time.thread_time() - begin) / LOOPS * 1e6


def main() -> None:
    import followthrough  # noqa: PLC0415

    followthrough.configure("bench")
    result = {name: _timed(part) for name, part in _all().items()}
    Path(os.environ["BENCH_RESULT"]).write_text(json.dumps(result))


if __name__ == "__main__":
    if "BENCH_RESULT" in os.environ:
        main()
    else:
        from bench.overhead import table

        print(table.budget(measure(Path(sys.executable))))
