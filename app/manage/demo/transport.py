"""Requests and answers as plain values, and the one place where they become HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

PATIENCE = 20.0  # seconds for an answer


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    json: Any = None
    form: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """`body` is the JSON; of anything else, its `type` and how many `bytes` it has."""

    status: int
    body: Any


Transport = Callable[[Request], Answer]


def http(service: str) -> Transport:
    """Asks the service at this address; raises OSError without an answer."""
    session = requests.Session()
    # A proxy can't reach what listens on loopback.
    session.trust_env = False

    def ask(request: Request) -> Answer:
        response = session.request(
            request.method,
            f"{service}{request.path}",
            json=request.json,
            data=request.form or None,
            files=request.files or None,
            headers=request.headers,
            timeout=PATIENCE,
        )
        return Answer(response.status_code, _body(response))

    return ask


def _body(response: requests.Response) -> Any:
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if kind.endswith("json"):
        return response.json()
    return {"type": kind, "bytes": len(response.content)}
