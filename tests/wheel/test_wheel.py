"""The kit's wheel in a project that has its own `app` package and `telemetry.py`."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.support import Program, answers, free_port, redis_server, wait_for

pytestmark = pytest.mark.wheel
PROJECT = Path(__file__).parent / "project"


def test_the_wheel_brings_what_its_modules_import(venv):
    """Each module of the kit is imported where only its own dependencies are installed."""
    code = """
import importlib, pkgutil, followthrough
for module in pkgutil.walk_packages(followthrough.__path__, "followthrough."):
    importlib.import_module(module.name)
"""
    python = [str(venv / "python"), "-I", "-c", code]
    subprocess.run(python, check=True, capture_output=True, text=True)


def test_the_wheel_ships_the_kit_only(wheel):
    """No `app`, no `telemetry`, no tests: names that a stranger's project may have."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"followthrough"}
    assert "followthrough/py.typed" in names


class Project:
    """The stranger's project, run the way its README would say."""

    def __init__(self, bin_dir: Path, directory: Path, broker: str) -> None:
        self.bin, self.directory = bin_dir, directory
        self.ports = {name: free_port() for name in ("web", "otlp", "console", "metrics")}
        self.env = {
            "BROKER": broker,
            "PYTHONPATH": "",
            "FOLLOWTHROUGH_STRICT": "1",
            "FOLLOWTHROUGH_STATE_DIR": str(directory / "state"),
            "FOLLOWTHROUGH_OTLP_PORT": str(self.ports["otlp"]),
            "FOLLOWTHROUGH_CONSOLE_PORT": str(self.ports["console"]),
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.ports["metrics"]),
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def start(self, name: str, *argv: str, instrumented: bool = True) -> Program:
        launcher = [str(self.bin / "opentelemetry-instrument")] if instrumented else []
        env = {**self.env, "OTEL_SERVICE_NAME": f"shop-{name}"}
        command = [*launcher, str(self.bin / argv[0]), *argv[1:]]
        return Program(command, self.directory / f"{name}.log", env, cwd=PROJECT)

    def get(self, port: str, path: str) -> str:
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        return urllib.request.urlopen(url, timeout=5).read().decode()


@pytest.fixture
def project(venv, tmp_path):
    with redis_server(tmp_path) as (_, broker):
        project = Project(venv, tmp_path, broker)
        bind = f"127.0.0.1:{project.ports['web']}"
        programs = [
            project.start("agent", "followthrough", "agent", instrumented=False),
            project.start("web", "gunicorn", "--bind", bind, "app:app"),
            project.start("worker", "celery", "-A", "app:celery", "worker", "-c", "1"),
        ]
        try:
            for port in project.ports.values():
                wait_for(lambda port=port: answers(port), "the project answers", 30)
            yield project
        finally:
            for program in reversed(programs):
                program.stop()


def test_a_project_is_traced_without_a_line_of_code(project):
    """Under `opentelemetry-instrument`: one trace, each span once, and counts of both ends."""
    url = f"http://127.0.0.1:{project.ports['web']}/greet/ada"
    request = urllib.request.Request(url, method="POST")
    task_id = json.load(urllib.request.urlopen(request, timeout=10))["task_id"]

    def spans():
        traces = json.loads(project.get("console", "/api/traces?service=shop-worker"))["data"]
        return traces and len(traces[0]["spans"]) >= 3 and traces[0]["spans"]

    kinds = [
        tag["value"]
        for span in wait_for(spans, "the trace is whole")
        for tag in span["tags"]
        if tag["key"] == "span.kind"
    ]
    assert sorted(kinds) == ["consumer", "producer", "server"]
    metrics = wait_for(
        lambda: (m := project.get("metrics", "/metrics")) and "shop.greet" in m and m, "metrics"
    )
    assert 'celery_task_results_total{error_type="",outcome="success",task="shop.greet"} 1.0' in (
        metrics
    )
    assert 'http_route="/greet/<name>"' in metrics
    log = (project.directory / "worker.log").read_text()
    ends = [line for line in log.splitlines() if task_id in line and "task.succeeded" in line]
    assert len(ends) == 1, log
    assert not os.path.lexists(PROJECT / "state")
