"""`opentelemetry-instrument` and not one line of code: spans, lines and counts all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from followthrough.metrics.exposition import expose
from tests.support import HOME, program_env

# Written as if its author had never heard of the kit.
HOST = """
from flask import Flask
from celery import Celery
app = Flask("host")
celery = Celery("host", broker="memory://localhost")
celery.conf.task_always_eager = True

@celery.task(name="host.work")
def work():
    return 1

@app.get("/go")
def go():
    return str(work.delay().get())

assert app.test_client().get("/go").status_code == 200
"""


@pytest.mark.parametrize(
    "service", [{"OTEL_SERVICE_NAME": "host"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=host"}]
)
def test_a_program_without_a_line_about_telemetry_is_told_once(
    tmp_path: Path, service: dict[str, str]
) -> None:
    program = tmp_path / "host.py"
    program.write_text(HOST)
    env = {
        "FOLLOWTHROUGH_STATE_DIR": str(tmp_path / "state"),
        "FOLLOWTHROUGH_LOG_FORMAT": "json",
        **service,
        "OTEL_TRACES_EXPORTER": "console",
        "OTEL_METRICS_EXPORTER": "none",
    }
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    done = subprocess.run(
        [str(launcher), sys.executable, str(program)],
        env=program_env(env),
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    texts = done.stdout.splitlines()
    lines = [json.loads(text) for text in texts if text.startswith("{") and text.endswith("}")]
    ends = [line["event"] for line in lines]
    assert sorted(ends) == ["request.finished", "task.succeeded"], done.stdout + done.stderr
    names = [text.strip() for text in texts if text.strip().startswith('"name"')]
    assert names == ['"name": "process host.work",', '"name": "GET /go",']
    assert len({line["trace_id"] for line in lines}) == 1
    assert {line["service"] for line in lines} == {"host"}
    assert sum('"service.name": "host"' in text for text in texts) == len(names)
    text = expose(tmp_path / "state").decode()
    assert 'outcome="success",task="host.work"} 1.0' in text
    assert 'http_route="/go"' in text
    assert done.stderr == ""
