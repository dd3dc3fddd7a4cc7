"""What Celery writes itself: ends that we tell are kept out, all else has the form of our lines."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from celery.app import trace

from ..logs import chain, output

_ENDS = frozenset({"ignored", "rejected", "raised expected", "raised unexpected"})
_REVOKED = "Discarding revoked task: %s[%s]"
_TIMED_OUT = "Hard time limit (%ss) exceeded for %s[%s]"
_TOLD = "_followthrough_told"
# It says nothing below a warning but that a task was received.
_RECEIPTS = logging.getLogger("celery.worker.strategy")


class _Stock:
    info = staticmethod(trace.info)
    logger = trace.logger
    level = logging.NOTSET


def silence() -> None:
    """Keep out Celery's lines about ends that have a line of ours, and about receipt."""
    for name, check in _CHECKS.items():
        # A logger takes the same filter once only.
        logging.getLogger(name).addFilter(check)
    # Two lines a task are not even made: a record costs as much as a span.
    trace.info, trace.logger = _info, _Logger()
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        _RECEIPTS.setLevel(logging.WARNING)


def unsilence() -> None:
    """Undo `silence`."""
    for name, check in _CHECKS.items():
        logging.getLogger(name).removeFilter(check)
    trace.info, trace.logger = _Stock.info, _Stock.logger
    _RECEIPTS.setLevel(_Stock.level)


class _Logger:
    """Celery's logger of tasks. What makes a task's tracer asks it once whether a success is told.

    It asks for nothing else, and would find the fields of that line for each task.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(_Stock.logger, name)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  as the logger's
        return level != logging.INFO and _Stock.logger.isEnabledFor(level)


def _info(fmt: str, context: dict[str, Any]) -> None:
    if fmt not in (trace.LOG_SUCCESS, trace.LOG_RETRY):
        _Stock.info(fmt, context)


def on_setup_logging(logfile: str | None = None, **_: Any) -> None:
    """Keep the log chain as it is: Celery replaces it where nobody listens to this signal.

    `--logfile` gets our lines; the level is FOLLOWTHROUGH_LOG_LEVEL, whatever `--loglevel` says.
    """
    output.to_file(logfile)


def on_worker(instance: Any, **_: Any) -> None:
    """Log what tasks print, as Celery does where nobody hears the signal; no banner in JSON."""
    instance.quiet = instance.quiet or chain.is_json()
    if instance.redirect_stdouts:
        output.keep_stdout()
        instance.app.log.redirect_stdouts(instance.redirect_stdouts_level)


def mark(exception: BaseException) -> None:
    """Remember on the exception itself that it was told."""
    with contextlib.suppress(AttributeError, TypeError):
        setattr(exception, _TOLD, True)


def _not_an_end(record: logging.LogRecord) -> bool:
    if record.msg in (trace.LOG_SUCCESS, trace.LOG_RETRY):
        return False
    data = getattr(record, "data", None)
    description = data.get("description") if isinstance(data, dict) else None
    return description not in _ENDS


def _not_a_receipt(record: logging.LogRecord) -> bool:
    return record.msg != trace.LOG_RECEIVED or logging.getLogger().isEnabledFor(logging.DEBUG)


def _not_told(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith((_REVOKED, _TIMED_OUT)):
        return False
    first = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return not getattr(first, _TOLD, False)


_CHECKS = {
    "celery.app.trace": _not_an_end,
    "celery.worker.strategy": _not_a_receipt,
    "celery.worker.request": _not_told,
}
