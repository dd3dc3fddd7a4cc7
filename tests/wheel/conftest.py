"""The kit's wheel, and a virtual environment with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.support import HOME


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that nothing is left in the checkout."""
    work = tmp_path_factory.mktemp("build")
    shutil.copytree(HOME / "telemetry", work / "kit")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(work)]
    subprocess.run([*build, str(work / "kit")], check=True, capture_output=True)
    return next(work.glob("*.whl"))


@pytest.fixture(scope="session")
def venv(tmp_path_factory, wheel):
    """A new virtual environment with the wheel, what it asks for, and what the project needs."""
    path = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
    constraints = path / "constraints.txt"
    constraints.write_text(locked_versions())
    pip = [str(path / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--constraint", str(constraints)]
    subprocess.run([*pip, str(wheel), "gunicorn", "redis"], check=True)
    return path / "bin"


def locked_versions() -> str:
    """The lock's versions as constraints: pip takes no hashes beside a wheel that has none."""
    lines = (HOME / "requirements.lock").read_text().splitlines()
    versions = [line.removesuffix("\\").strip() for line in lines if re.match(r"[\w.-]+==", line)]
    assert len(versions) == sum(bool(re.match(r"\w", line)) for line in lines)
    return "\n".join([*versions, ""])
