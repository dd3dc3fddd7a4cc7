"""The tests that OpenTelemetry's packages are released with, made to test the kit's instrumentors.

They are fetched as source distributions of the locked versions, so nothing of them is kept here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.support import HOME, program_env

TEST_UTILS = "opentelemetry-test-utils"


@dataclass(frozen=True)
class Change:
    """A text of a file that is replaced, since `row` of docs/renames.md says that ours differs."""

    row: str
    file: str
    old: str
    new: str


def locked(package: str) -> str:
    """The version of a package in the lock."""
    found = re.search(rf"^{package}==(\S+)", (HOME / "requirements.lock").read_text(), re.MULTILINE)
    assert found, package
    return found[1]


def fetch(package: str, folder: Path, name: str = "upstream") -> Path:
    """The tests of an instrumentation package in a folder of this name, and what they need."""
    version = locked(package)
    pip = [sys.executable, "-m", "pip"]
    sdist = [*pip, "download", "--quiet", "--no-deps", "--no-build-isolation"]
    sdist += ["--no-binary", package, "--dest", str(folder), f"{package}=={version}"]
    subprocess.run(sdist, check=True)
    utils = [*pip, "install", "--quiet", "--no-deps", "--target", str(folder / "utils")]
    subprocess.run([*utils, f"{TEST_UTILS}=={version}"], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (tests,) = folder.glob("*/tests")
    shutil.copytree(tests, folder / "made" / name)
    return folder / "made" / name


def change(tests: Path, imports: str, changes: list[Change]) -> None:
    """Import what is to be tested after all else, and make each change, which must have a place."""
    for each in changes:
        path = tests / each.file
        text = path.read_text()
        assert each.old in text, f"nothing to change any more in {each.file}: {each.old}"
        path.write_text(text.replace(each.old, each.new))
    for path in tests.glob("test_*.py"):
        head, first, tail = path.read_text().partition("\nclass Test")
        path.write_text(f"{head}\n{imports}\n{first}{tail}")


def run(tests: Path, state_dir: Path, without: list[str]) -> subprocess.CompletedProcess[str]:
    """Run them all but those `without`, with the kit's own errors raised."""
    env = program_env(
        {
            "PYTHONPATH": f"{tests.parent}:{tests.parents[1] / 'utils'}:{HOME / 'telemetry'}",
            "FOLLOWTHROUGH_STATE_DIR": str(state_dir),
            "FOLLOWTHROUGH_STRICT": "1",
            "FOLLOWTHROUGH_START_AGENT": "0",
        }
    )
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests)]
    argv += ["-c", "/dev/null", str(tests)]
    for name in without:
        argv += ["--deselect", name]
    return subprocess.run(
        argv, check=False, cwd=tests.parent, env=env, capture_output=True, text=True, timeout=300
    )
