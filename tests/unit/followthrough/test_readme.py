"""What the wheel's long description says is so: its code runs, its names exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from followthrough.metrics import catalogue
from followthrough.settings import Settings, describe, load
from tests.support import HOME, program_env

TEXT = (HOME / "telemetry" / "README.md").read_text()
LAUNCHER = {"OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_it_tells_what_a_stranger_asks() -> None:
    titles = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    told = ["Install", "Three lines", "No line at all", "The agent", "Tasks", "Alerts", "Settings"]
    assert titles == told


@pytest.mark.parametrize("code", blocks("python"))
def test_each_snippet_runs(tmp_path: Path, code: str) -> None:
    env = program_env({"FOLLOWTHROUGH_STATE_DIR": str(tmp_path)})
    argv = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_entry_point_is_the_group_that_is_read() -> None:
    from followthrough.alerts.build import GROUP

    (block,) = blocks("toml")
    assert tomllib.loads(block)["project"]["entry-points"][GROUP]


def test_each_name_exists() -> None:
    settings = load(Settings, {})
    named = set(re.findall(r"\b(?:OTEL|FOLLOWTHROUGH)_[A-Z_]+\b", TEXT))
    assert named - LAUNCHER <= {row.env for row in describe(settings, {})}
    ports = {settings.metrics_port, settings.console_port, settings.otlp_port}
    assert set(map(int, re.findall(r"127\.0\.0\.1:(\d+)", TEXT))) - {6379} == ports
    assert f"`{catalogue.alerts_dropped.describe()[0].name}_total`" in TEXT
