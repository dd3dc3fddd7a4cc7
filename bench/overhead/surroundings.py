"""Where a run took place: versions, machine and commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.overhead.kits import Kit
from tests.support import HOME

_ASK = "import json,sys;from importlib.metadata import version as v;"
_ASK += "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"


def describe(python: Path, kits: list[Kit]) -> dict[str, Any]:
    """What a reader of the figures must know of where they come from."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _output("git", "-C", str(HOME), "describe", "--always", "--dirty").strip(),
        "versions": _versions(python, kits),
    }


def _versions(python: Path, kits: list[Kit]) -> dict[str, str]:
    packages = dict.fromkeys(package for kit in kits for package in kit.packages)
    found: dict[str, str] = json.loads(_output(str(python), "-c", _ASK, *packages))
    return found


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603  our own
    return done.stdout
