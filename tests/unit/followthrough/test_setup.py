"""Configuring is cheap, happens once and leaves a host's own choices alone."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import followthrough
from followthrough.settings import SettingsError
from followthrough.testing import Captured
from tests.support import HOME, program_env


def run(code: str, state: Path, **env: str) -> Any:
    """Run `code` in a fresh Python; what it prints last is JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=program_env({"FOLLOWTHROUGH_STATE_DIR": str(state), **env}),
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LOADED = """
import json, sys
{}
print(json.dumps([name for name in {!r} if name in sys.modules]))
"""
HEAVY = ["flask", "celery", "opentelemetry", "structlog", "prometheus_client", "requests", "grpc"]


def test_importing_loads_nothing_heavy(tmp_path: Path) -> None:
    assert run(LOADED.format("import followthrough", HEAVY), tmp_path) == []


def test_importing_every_module_writes_and_starts_nothing(tmp_path: Path) -> None:
    code = """
import importlib, json, pkgutil, threading, logging, followthrough
for module in pkgutil.walk_packages(followthrough.__path__, "followthrough."):
    importlib.import_module(module.name)
print(json.dumps([threading.active_count(), len(logging.getLogger().handlers)]))
"""
    assert run(code, tmp_path / "state") == [1, 0]
    assert not (tmp_path / "state").exists()


def test_instrumenting_everything_never_loads_grpc(tmp_path: Path) -> None:
    code = """
import followthrough
from flask import Flask
followthrough.configure("x")
followthrough.instrument_flask(Flask("x"))
followthrough.instrument_celery()
"""
    assert run(LOADED.format(code, ["grpc"]), tmp_path) == []


def test_configuring_again_returns_the_settings_in_force(told: Captured) -> None:
    assert followthrough.configure("another") is told.settings


def test_other_settings_are_taken_over(told: Captured, tmp_path: Path) -> None:
    other = dataclasses.replace(told.settings, state_dir=tmp_path / "elsewhere")
    assert followthrough.configure(settings=other) is other
    assert followthrough.configure() is other


SERVICE = """
import json, followthrough
from followthrough import setup
followthrough.configure("given")
from opentelemetry import trace
resource = trace.get_tracer_provider().resource
print(json.dumps([resource.attributes["service.name"], setup.service()]))
"""


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({}, "given"),
        ({"OTEL_SERVICE_NAME": "from-env"}, "from-env"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,team=a"}, "shop"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop", "OTEL_SERVICE_NAME": "web"}, "web"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a"}, "given"),
    ],
)
def test_the_environments_service_name_wins(tmp_path: Path, env: dict[str, str], name: str) -> None:
    """In the resource and in what an alert is given alike."""
    assert run(SERVICE, tmp_path, **env) == [name, name]


PROCESSORS = """
import json, followthrough
followthrough.configure("x")
from opentelemetry import trace
processors = trace.get_tracer_provider()._active_span_processor._span_processors
batches = [getattr(p, "_batch_processor", None) for p in processors]
delays = [batch._schedule_delay for batch in batches if batch]
print(json.dumps([[type(p).__name__ for p in processors], delays]))
"""


def test_each_exporter_of_the_list_is_there_once(tmp_path: Path) -> None:
    names, _ = run(PROCESSORS, tmp_path, OTEL_TRACES_EXPORTER="console,otlp,otlp")
    assert names == ["SimpleSpanProcessor", "RecorderProcessor"]


def test_the_sdks_batch_processor_can_be_chosen_and_its_delay_holds(tmp_path: Path) -> None:
    env = {"FOLLOWTHROUGH_SPAN_PROCESSOR": "batch", "OTEL_BSP_SCHEDULE_DELAY": "250"}
    assert run(PROCESSORS, tmp_path, **env) == [["Processor"], [0.25]]


def test_where_files_cannot_be_shared_the_sdks_batch_processor_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = """
import logging
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("followthrough.tracing.provider").addHandler(handler)
"""
    code = told + PROCESSORS.replace("delays]", "lines]")
    names, lines = run(code, tmp_path / "file" / "state")
    assert names == ["Processor"]
    (line,) = lines
    assert line.startswith("spans are sent by the SDK's batch processor: ")
    assert "Not a directory" in line


LOGS = """
import json, logging, followthrough, structlog
settings = followthrough.configure("x")
from opentelemetry import _logs, trace
with trace.get_tracer("t").start_as_current_span("s"):
    structlog.get_logger("shop").info("first", number=3)
logging.getLogger("shop").error("second")
_logs.get_logger("shop").emit(body="third")
from followthrough.recorder import request, ring
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
told = []
for path in (settings.state_dir / "rings").glob("*.logs"):
    with path.open("rb") as file:
        records = ring.read(file.fileno(), 1 << 20).payloads
    for of in ExportLogsServiceRequest.FromString(request.logs(records)).resource_logs:
        service = [a.value.string_value for a in of.resource.attributes if a.key == "service.name"]
        told += [
            [service, scope.scope.name, line.severity_text, line.body.string_value,
             len(line.span_id), sorted(a.key for a in line.attributes)]
            for scope in of.scope_logs for line in scope.log_records
        ]
print(json.dumps(sorted(told, key=lambda line: line[3])))
"""
COLLECTOR = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    "OTEL_LOGS_EXPORTER": "otlp",
    "FOLLOWTHROUGH_START_AGENT": "false",
}


@pytest.mark.parametrize("exporter", ["otlp", "none"])
def test_log_lines_go_the_way_of_spans_where_that_is_set(tmp_path: Path, exporter: str) -> None:
    assert run(LOGS, tmp_path, **COLLECTOR, OTEL_TRACES_EXPORTER=exporter) == [
        [["x"], "shop", "INFO", "first", 8, ["number"]],
        [["x"], "shop", "ERROR", "second", 0, []],
        [["x"], "shop", "", "third", 0, []],
    ]
    assert len(list((tmp_path / "rings").glob("*.spans"))) == (exporter == "otlp")


def test_log_lines_stay_on_stdout_unless_a_setting_says_more(tmp_path: Path) -> None:
    assert run(LOGS, tmp_path) == []
    assert run(LOGS, tmp_path, **COLLECTOR, OTEL_SDK_DISABLED="true") == []


def test_where_files_cannot_be_shared_no_log_records_are_sent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = {**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}
    assert run(LOGS, tmp_path / "file" / "state", **env) == []


def test_log_records_that_nobody_would_take_are_refused(tmp_path: Path) -> None:
    code = """
import json, followthrough
try:
    followthrough.configure("x")
except followthrough.settings.SettingsError as error:
    print(json.dumps(str(error)))
"""
    told = run(code, tmp_path, OTEL_LOGS_EXPORTER="otlp")
    assert told.startswith("OTEL_LOGS_EXPORTER: otlp, but there is no collector")


PROVIDER = """
import json
{}
import followthrough
followthrough.configure("x")
from opentelemetry import trace
print(json.dumps(type(trace.get_tracer_provider()).__module__))
"""


def test_a_disabled_sdk_stays_off(tmp_path: Path) -> None:
    module = run(PROVIDER.format(""), tmp_path, OTEL_SDK_DISABLED="true")
    assert module == "opentelemetry.trace"


def test_a_provider_of_the_host_is_kept(tmp_path: Path) -> None:
    code = """
from opentelemetry import trace
from opentelemetry.trace import NoOpTracerProvider
class Theirs(NoOpTracerProvider): pass
trace.set_tracer_provider(Theirs())
"""
    assert run(PROVIDER.format(code), tmp_path) == "__main__"


def test_the_console_exporter_prints_spans(tmp_path: Path) -> None:
    code = """
import followthrough
followthrough.configure("x")
from opentelemetry import trace
trace.get_tracer("t").start_span("shown").end()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=program_env(
            {"FOLLOWTHROUGH_STATE_DIR": str(tmp_path), "OTEL_TRACES_EXPORTER": "console"}
        ),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert '"name": "shown"' in done.stdout


def test_wrong_settings_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from followthrough import setup

    monkeypatch.setattr(setup._Current, "settings", None)
    monkeypatch.setenv("FOLLOWTHROUGH_LOG_LEVEL", "loud")
    monkeypatch.setenv("FOLLOWTHROUGH_OTLP_PORT", "x")
    with pytest.raises(SettingsError) as caught:
        followthrough.configure("x")
    assert len(caught.value.problems) == 2
