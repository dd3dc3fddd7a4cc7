"""The real programs of the stack: where they are, and how to ask them."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.support import HOME

BUILD = Path(__file__).parent / "build" / "build.sh"


def cache() -> Path:
    """Where the built programs are kept: outside the checkout, so that a new clone has them."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "followthrough-stack"


def program(name: str) -> str:
    return str(cache() / name)


def build() -> None:
    """Build what is missing; raises with the builder's own words."""
    done = subprocess.run([BUILD, cache()], text=True, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"{BUILD.relative_to(HOME)} failed: {done.stderr[-2000:]}")


def run(name: str, *args: object, env: dict[str, str] | None = None) -> str:
    """Run one of the programs to its end in the checkout; its output, or an AssertionError."""
    done = subprocess.run(
        [program(name), *map(str, args)],
        cwd=HOME,
        env={**os.environ, **(env or {})},
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{name} {args}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def get(url: str, **params: Any) -> Any:
    """GET of a JSON or text answer; an HTTP error raises OSError with the server's words."""
    query = urllib.parse.urlencode(params, doseq=True)
    try:
        with urllib.request.urlopen(f"{url}?{query}" if query else url, timeout=10) as response:
            raw = response.read()
            is_json = "json" in (response.headers.get("Content-Type") or "")
    except urllib.error.HTTPError as error:
        error.msg = f"{error.msg}: {error.read().decode(errors='replace')[:500]}"
        raise
    return json.loads(raw) if is_json else raw.decode()


def post(url: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    """POST of JSON; the answer's JSON."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read() or b"{}")
