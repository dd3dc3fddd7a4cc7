"""A step of the demo: a request, and what is to come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """A request, and how it is expected to end.

    `status` is that of its answer. With `ends` a task follows, which is watched up to that state.
    `shows` are members of the last answer and their values; `says` tells people the result.
    """

    key: str
    name: str
    path: str
    method: str = "POST"
    json: Any = None
    form: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    status: int = 202
    ends: str = "SUCCESS"
    shows: Mapping[str, Any] = field(default_factory=dict)
    says: str = "{status}"


def get(key: str, name: str, path: str, says: str, **more: Any) -> Step:
    """A step that only reads."""
    return Step(key, name, path, says=says, **{"method": "GET", "status": 200, "ends": "", **more})


def mail(key: str, name: str, recipient: str, **more: Any) -> Step:
    body = {"recipient": recipient, "subject": "Hello from the demo", "body": "It works."}
    return Step(key, name, "/api/send-email", json=body, **more)


def payment(method: str, name: str, **more: Any) -> Step:
    """A payment whose key is its method."""
    order = {"order_id": f"demo-{{run}}-{method}", "amount": "12.50", "currency": "USD"}
    return Step(
        method, name, "/api/process-payment", json={**order, "payment_method": method}, **more
    )


def refused(key: str, name: str, path: str, status: int, **more: Any) -> Step:
    """A request that is answered with a problem, and queues nothing."""
    says = "refused: {title}; {detail}"
    return Step(key, name, path, status=status, ends="", **{"says": says, **more})
