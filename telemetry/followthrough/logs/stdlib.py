"""The standard library's loggers, and so Celery's, gunicorn's and Flask's, into the same chain."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Any

from .. import redact
from . import chain, output, records

QUIET_FOR = 60.0
# Own handlers would write each line twice, past our chain.
_CAPTURED = ("gunicorn.error", "celery", "celery.task", "celery.redirected", "py.warnings")
# At debug these tell about themselves, not about the service.
_CHATTY = ("opentelemetry", "celery.utils.functional", "kombu", "amqp", "urllib3", "asyncio")
_LEVELS = [(logging.CRITICAL, "critical"), (logging.ERROR, "error"), (logging.WARNING, "warning")]
_LEVELS += [(logging.INFO, "info")]
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Celery's extras hold the arguments of tasks, and what is in its text.
_NO_EXTRAS = ("celery.", "kombu.")
_REQUEST = re.compile(r' - - \[[^\]]*\] "')


def install(level: str) -> None:
    """Let the root logger write through the chain; of other handlers only the console's go."""
    root = logging.getLogger()
    root.handlers[:] = [Handler(), *(each for each in root.handlers if not _is_replaced(each))]
    root.setLevel(level.upper())
    for name in _CAPTURED:
        capture(logging.getLogger(name))
    for logger in list(root.manager.loggerDict.values()):
        # Flask's, if it was made before: each line would come twice.
        if isinstance(logger, logging.Logger) and logger.handlers and logger.propagate:
            capture(logger)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.INFO if level == "debug" else logging.NOTSET)
    # `request.finished` is the one line a request, with its route and trace.
    logging.getLogger("werkzeug").addFilter(_is_no_request)


def capture(logger: logging.Logger) -> None:
    """Take a logger's own handlers for the console from it; its lines come by the root logger."""
    logger.handlers[:] = [each for each in logger.handlers if not _is_replaced(each)]
    logger.propagate = True


def _is_replaced(handler: logging.Handler) -> bool:
    """Whether it is ours of before, or would write each line a second time to the console."""
    if isinstance(handler, Handler):
        return True
    stream = getattr(handler, "stream", None)
    ours = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return type(handler) is logging.StreamHandler and stream in ours


def _is_no_request(record: logging.LogRecord) -> bool:
    return not _REQUEST.search(str(record.msg))


class Handler(logging.Handler):
    """Writes records through the chain."""

    # To structlog's side: no other handler, that would need its lines too.
    ours = True

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(Rarely())

    def createLock(self) -> None:  # noqa: N802
        """None: a line is one write, and a lock could be held as a signal or a fork comes."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Write the record, if no filter objects."""
        if passed := self.filter(record):
            self.emit(record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as a line."""
        line, told = chain.made(record.name, level(record.levelno), fields(record))
        output.write(line)
        records.record(record.name, told["level"], told)


def level(number: int) -> str:
    """The name of a level; one between two has the lower's."""
    return next((name for least, name in _LEVELS if number >= least), "debug")


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says, as an event's fields."""
    found: dict[str, Any] = {"event": _message(record)}
    if not record.name.startswith(_NO_EXTRAS):
        found |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info:
        found["exc_info"] = record.exc_info
    if record.stack_info:
        found["stack"] = record.stack_info
    return found


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().rstrip("\n")
    except Exception:  # noqa: BLE001  wrong arguments, or a value whose text can't be made
        return f"{record.msg} {redact.shown(record.args)}"


class Rarely(logging.Filter):
    """Lets each complaint of the OpenTelemetry SDK through once a minute, not at every try."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("opentelemetry."):
            return True
        now = time.monotonic()
        due = now - self._last.get(str(record.msg), -QUIET_FOR) >= QUIET_FOR
        if due:
            self._last[str(record.msg)] = now
        return due
