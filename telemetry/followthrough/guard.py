"""Telemetry never breaks its host: errors inside it are counted, logged rarely and swallowed."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LOG_EVERY = 60.0

logger = logging.getLogger(__name__)

strict = False
count: Callable[[str], None] = lambda _where: None  # noqa: E731

_let_pass: set[type[Exception]] = set()
_last_logged: dict[str, float] = {}


def let_pass(kind: type[Exception]) -> None:
    """Name an exception that means the host, not telemetry, and so is never swallowed."""
    _let_pass.add(kind)


def guarded(where: str) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
    """Decorate a hook: an error in it returns None, is counted under `where`; raised if strict."""

    def decorate(hook: Callable[P, R]) -> Callable[P, R | None]:
        @functools.wraps(hook)
        def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
            try:
                return hook(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  raised on where it is to be
                caught(where, error)
                return None

        return run

    return decorate


def caught(where: str, error: BaseException) -> None:
    """What `guarded` does with an error, for a hook that spares the decorator's call."""
    if strict or is_hosts(error):
        raise error
    report(where, error)


def is_hosts(error: BaseException) -> bool:
    """Whether it means the host, as what a signal's handler raises, and is never swallowed."""
    return not isinstance(error, Exception) or isinstance(error, tuple(_let_pass))


def report(where: str, error: BaseException) -> None:
    """Count an error of telemetry and log it, at most once a minute for each `where`."""
    try:
        count(where)
        if _due(where):
            logger.error("telemetry.error", exc_info=error, extra=_extra(where))
    except Exception:  # noqa: BLE001, S110  the last line of defence has nobody left to tell
        pass


def _extra(where: str) -> dict[str, Any]:
    return {"where": where}


def _due(where: str) -> bool:
    now = time.monotonic()
    if now - _last_logged.get(where, -LOG_EVERY) < LOG_EVERY:
        return False
    _last_logged[where] = now
    return True
