"""The log chain: every line of the process, ours or a library's, in one form with trace ids."""

from __future__ import annotations

import contextlib
import logging
import logging.config
import os
import sys
import time
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from . import redact
from .tracing import ids

if TYPE_CHECKING:
    from .settings import Settings

Event = MutableMapping[str, Any]

QUIET_FOR = 60.0
_CLOCK = slice(11, 23)
_FIRST = ("timestamp", "level", "event", "logger", "service")
# Own handlers would write each line twice, past our chain.
_CAPTURED = ("gunicorn.error", "celery", "celery.task", "py.warnings")
# At debug these tell about themselves, not about the service.
_CHATTY = ("opentelemetry", "celery.utils.functional", "kombu", "amqp", "urllib3", "asyncio")

Bound = Token[Mapping[str, Any]]

_bound: ContextVar[Mapping[str, Any]] = ContextVar("followthrough_bound", default={})  # noqa: B039


def bind(**fields: Any) -> Bound:
    """Add fields to each line of this context (thread, greenlet, coroutine) until `unbind`."""
    return _bound.set({**_bound.get(), **fields})


def unbind(bound: Bound) -> None:
    """Undo a `bind`; nothing where it was made in another context, as a streamed body's may be."""
    with contextlib.suppress(ValueError):
        _bound.reset(bound)


def configure_logs(log_format: str = "auto", level: str = "info", service: str = "") -> None:
    """Send all logging of the process to stdout, as `json`, `console` or by what stdout is."""
    logging.config.dictConfig(_config(log_format, level, service))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(service),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def dict_config(settings: Settings, service: str = "") -> dict[str, Any]:
    """The same chain for `logging.config.dictConfig`, as gunicorn's `logconfig_dict` takes it."""
    return _config(settings.log_format, settings.log_level, settings.service_name or service)


def _config(log_format: str, level: str, service: str) -> dict[str, Any]:
    captured = {"handlers": [], "propagate": True, "level": "NOTSET"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "followthrough": {"()": formatter, "log_format": log_format, "service": service}
        },
        "filters": {"telemetry": {"()": Rarely}},
        "handlers": {
            "stdout": {
                "()": Stdout,
                "formatter": "followthrough",
                "filters": ["telemetry"],
            }
        },
        "root": {"handlers": ["stdout"], "level": level.upper()},
        "loggers": {
            **{name: dict(captured) for name in _CAPTURED},
            # `request.finished` is the one line a request, with its route and trace.
            "gunicorn.access": {**captured, "level": "WARNING"},
            **{name: {"level": "INFO" if level == "debug" else "NOTSET"} for name in _CHATTY},
        },
    }


def formatter(log_format: str, service: str) -> structlog.stdlib.ProcessorFormatter:
    """The formatter of both forms: `json`, one object a line, and `console`."""
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    ending = _json() if _is_json(log_format) else _console()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(service), structlog.stdlib.ExtraAdder(allow=("where",))],
        processors=[meta, *ending],
    )


def _is_json(log_format: str) -> bool:
    if log_format == "auto":
        return not (sys.stdout.isatty() or os.environ.get("FORCE_COLOR"))
    return log_format == "json"


def _shared(service: str) -> list[structlog.types.Processor]:
    def add_service(_logger: Any, _method: str, event: Event) -> Event:
        if service:
            event.setdefault("service", service)
        return event

    return [
        add_bound,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace,
        add_service,
    ]


def add_bound(_logger: Any, _method: str, event: Event) -> Event:
    """Add what `bind` has bound; a field of the line itself goes first."""
    for key, value in _bound.get().items():
        event.setdefault(key, value)
    return event


def add_trace(_logger: Any, _method: str, event: Event) -> Event:
    """Add trace_id and span_id of the current span, where there is one."""
    for key, value in ids.current().items():
        event.setdefault(key, value)
    return event


def _redacted(_logger: Any, _method: str, event: Event) -> Event:
    return redact.fields(event)


def _in_order(_logger: Any, _method: str, event: Event) -> Event:
    return {key: event.pop(key) for key in _FIRST if key in event} | dict(event)


def _json() -> list[structlog.types.Processor]:
    return [
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redacted,
        _in_order,
        structlog.processors.JSONRenderer(default=repr),
    ]


def _for_people(_logger: Any, _method: str, event: Event) -> Event:
    event["timestamp"] = str(event.get("timestamp", ""))[_CLOCK]
    event.pop("span_id", None)
    if str(event.get("logger", "")).startswith("followthrough."):
        del event["logger"]
    ends = {key: event.pop(key) for key in ("service", "trace_id") if key in event}
    return dict(event) | ends


def _console() -> list[structlog.types.Processor]:
    return [
        structlog.processors.format_exc_info,
        _redacted,
        _for_people,
        structlog.dev.ConsoleRenderer(colors=wants_colour(), pad_event_to=24, sort_keys=False),
    ]


def wants_colour() -> bool:
    """Whether to colour: NO_COLOR says no, FORCE_COLOR yes, else a terminal on stdout."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


class Stdout(logging.StreamHandler[TextIO]):
    """Writes to what sys.stdout is at that moment, as a test or a daemon may have replaced it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


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
