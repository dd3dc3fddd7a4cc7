"""The host's /metrics and the agent's health."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..metrics import exposition

PLAIN = "text/plain; charset=utf-8"


class Metrics:
    """The WSGI application that tells what the host's processes counted in `state_dir`."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = self._answer(environ["REQUEST_METHOD"], environ.get("PATH_INFO"))
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, method: str, path: str | None) -> tuple[str, str, bytes]:
        if path not in ("/metrics", "/-/healthy"):
            return "404 Not Found", PLAIN, b"metrics are at /metrics\n"
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", PLAIN, b"use GET\n"
        if path == "/-/healthy":
            return "200 OK", PLAIN, b"ok\n"
        return "200 OK", exposition.CONTENT_TYPE, exposition.expose(self._state_dir)
