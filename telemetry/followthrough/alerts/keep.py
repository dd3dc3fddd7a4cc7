"""Leaves an alert where it outlives its process, and says when it can't be left.

In the process's event ring, which the agent empties into the spool; where there is none, or it is
full, in the spool itself, which costs a write to the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from .. import metrics

if TYPE_CHECKING:
    from pathlib import Path

    from .alert import Alert

ALERT = b"A"  # with which its record in the event ring begins
LOG_EVERY = 60.0

logger = structlog.get_logger("followthrough.alerts")


class _Current:
    state_dir: Path | None = None
    service: str = ""
    to_ring: Callable[[bytes], bool] | None = None
    # Dropped since the last line about it, and when another is due (monotonic seconds).
    dropped: int = 0
    silent_until: float = float("-inf")


def use(
    state_dir: Path | None, service: str = "", to_ring: Callable[[bytes], bool] | None = None
) -> None:
    """Leave alerts below `state_dir` from now on, of `service` where they don't say whose.

    `to_ring` keeps a record in the process's event ring, or says that it can't.
    """
    _Current.state_dir, _Current.service, _Current.to_ring = state_dir, service, to_ring


def alert(*, service: str = "", **values: Any) -> None:
    """Leave one alert; `values` are those of `new_alert`.

    Raises OSError where the disk takes no file: the guard logs it, once a minute.
    """
    if _Current.state_dir is None:
        return
    from .alert import new_alert  # noqa: PLC0415  no part of what a task that ends well needs

    _keep(_Current.state_dir, new_alert(service=service or _Current.service, **values))


def _keep(state_dir: Path, alert: Alert) -> None:
    from . import spool  # noqa: PLC0415
    from .alert import to_json  # noqa: PLC0415

    if _Current.to_ring is not None and _Current.to_ring(ALERT + to_json(alert)):
        return
    try:
        kept = spool.write(state_dir, alert)
    except OSError:
        metrics.count_dropped_alert("unwritable")
        raise
    if not kept:
        metrics.count_dropped_alert("full")
        _tell_full(alert)


def _tell_full(alert: Alert) -> None:
    now = time.monotonic()
    _Current.dropped += 1
    if now < _Current.silent_until:
        return
    logger.error(
        "alert.dropped",
        reason="full",
        task=alert.task,
        task_id=alert.task_id,
        dropped=_Current.dropped,
    )
    _Current.dropped = 0
    _Current.silent_until = now + LOG_EVERY
