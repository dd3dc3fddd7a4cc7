"""Connecting to Celery's signals so that it holds: strong, once, guarded and undone together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded

from .. import guard

_connected: list[tuple[Any, str]] = []


def connect(signal: Any, receiver: Callable[..., None], *, is_guarded: bool = False) -> None:
    """Connect `receiver`, guarded unless it guards itself; a second time does nothing."""
    # It is raised at any bytecode, also in here, and is meant for the task.
    guard.let_pass(SoftTimeLimitExceeded)
    uid = f"followthrough.{signal.name}.{receiver.__name__}"
    if (signal, uid) not in _connected:
        hook = receiver if is_guarded else guard.guarded(f"celery.{signal.name}")(receiver)
        signal.connect(hook, weak=False, dispatch_uid=uid)
        _connected.append((signal, uid))


def disconnect() -> None:
    """Disconnect everything that `connect` connected."""
    while _connected:
        signal, uid = _connected.pop()
        signal.disconnect(dispatch_uid=uid)
