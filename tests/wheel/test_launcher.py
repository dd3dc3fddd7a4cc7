"""`opentelemetry-instrument` traces nothing twice, whichever distribution it finds first."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import program_env
from tests.support.upstream import locked

pytestmark = pytest.mark.wheel

# Written as if its author had never heard of the kit.
HOST = """
from celery import Celery
from flask import Flask

app = Flask("host")
celery = Celery("host", broker="memory://localhost")
celery.conf.task_always_eager = True

@celery.task(name="host.work")
def work():
    return 1

app.add_url_rule("/go", view_func=lambda: str(work.delay().get()))
app.test_client().get("/go").close()
"""
NAMED = {"OTEL_PYTHON_DISTRO": "followthrough", "OTEL_PYTHON_CONFIGURATOR": "followthrough"}


@pytest.fixture(scope="session")
def distro(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenTelemetry's own distribution, in a folder that may be put before all others."""
    folder = tmp_path_factory.mktemp("distro")
    pip = [str(venv / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    version = locked("opentelemetry-instrumentation-flask")
    pip += ["--target", str(folder), f"opentelemetry-distro=={version}"]
    subprocess.run(pip, check=True)
    return folder


def launched(venv: Path, state: Path, **env: str) -> tuple[list[str], list[dict[str, str]], str]:
    """The names of the spans on the console, the log lines, and all that was written."""
    settings = {
        "FOLLOWTHROUGH_STATE_DIR": str(state),
        "FOLLOWTHROUGH_LOG_FORMAT": "json",
        "OTEL_SERVICE_NAME": "host",
        "OTEL_TRACES_EXPORTER": "console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "PYTHONPATH": "",
    }
    argv = [str(venv / "opentelemetry-instrument"), str(venv / "python"), "-c", HOST]
    done = subprocess.run(
        argv,
        env=program_env({**settings, **env}),
        cwd=state.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    texts = [text.strip() for text in done.stdout.splitlines()]
    names = [text.split('"')[3] for text in texts if text.startswith('"name"')]
    lines = [json.loads(text) for text in texts if text.startswith('{"timestamp"')]
    return names, lines, done.stdout + done.stderr


@pytest.mark.parametrize("which", ["alone", "after theirs", "named"])
def test_each_request_is_told_once(venv: Path, distro: Path, tmp_path: Path, which: str):
    env = {"alone": {}, "after theirs": {}, "named": NAMED}[which]
    if which != "alone":
        env = {**env, "PYTHONPATH": str(distro)}
    names, lines, output = launched(venv, tmp_path / "state", **env)
    assert sorted(names) == ["GET /go", "process host.work"], output
    # Of theirs the launcher may load both instrumentors; then the second only warns.
    told = [line for line in lines if line["level"] != "warning"]
    assert [line["event"] for line in told] == ["task.succeeded", "request.finished"], output
    assert {line["service"] for line in lines} == {"host"}
    assert len({line["trace_id"] for line in told}) == 1
    assert output.count('"service.name": "host"') == len(names)


@pytest.mark.parametrize("which", ["alone", "after theirs"])
def test_what_is_disabled_is_not_told(venv: Path, distro: Path, tmp_path: Path, which: str):
    env = {} if which == "alone" else {"PYTHONPATH": str(distro)}
    env["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = "celery, flask"
    names, lines, output = launched(venv, tmp_path / "state", **env)
    assert names == [], output
    # Celery's own line is left to Celery.
    assert {line["logger"] for line in lines} <= {"celery.app.trace"}, output
