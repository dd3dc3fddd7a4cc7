"""Connecting to Celery's signals so that it holds: strong, once, guarded and undone together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery.app import trace
from celery.utils.dispatch import signal as dispatch

from .. import guard

_connected: list[tuple[Any, str]] = []
# Where Celery keeps a signal's `send` from its own start on.
_SENDERS = {"task_prerun": "send_prerun", "task_postrun": "send_postrun"}


def connect(signal: Any, receiver: Callable[..., None], *, is_hot: bool = False) -> None:
    """Connect `receiver`, guarded; a second time does nothing.

    One that is called for each task guards itself, and is called without Celery's detours.
    """
    # It is raised at any bytecode, also in here, and is meant for the task.
    guard.let_pass(SoftTimeLimitExceeded)
    uid = f"followthrough.{signal.name}.{receiver.__name__}"
    if (signal, uid) not in _connected:
        hook = receiver if is_hot else guard.guarded(f"celery.{signal.name}")(receiver)
        signal.connect(hook, weak=False, dispatch_uid=uid)
        _connected.append((signal, uid))
        if is_hot:
            _send_by(signal, _direct(signal, hook))


def disconnect() -> None:
    """Disconnect everything that `connect` connected."""
    while _connected:
        signal, uid = _connected.pop()
        signal.disconnect(dispatch_uid=uid)
        if vars(signal).pop("send", None) is not None:
            _send_by(signal, None)


def _send_by(signal: Any, send: Any) -> None:
    """Have a signal sent by `send`; by itself again where that is None."""
    if send is not None:
        signal.send = send
    if (name := _SENDERS.get(signal.name)) is not None:
        setattr(trace, name, signal.send)


def _direct(signal: Any, hook: Callable[..., Any]) -> Callable[..., Any]:
    """`signal.send` where our hook alone hears it: Celery looks receivers up behind a lock.

    The hook is told all but which signal it is. Whoever has kept it still sends the signal to all
    who hear it.
    """
    stock, receivers = signal.send, signal.receivers
    alone = [each for each in receivers if each[1] is hook]
    logger: logging.Logger = dispatch.logger

    def send(sender: Any, **named: Any) -> Any:
        if receivers != alone:
            return stock(sender, **named)
        try:
            return [(hook, hook(sender=sender, **named))]
        except Exception as error:
            logger.exception("Signal handler %r raised: %r", hook, error)  # noqa: TRY401  as Celery
            return [(hook, error)]

    return send
