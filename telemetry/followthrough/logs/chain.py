"""Makes a line: its fields in order, secrets masked, as JSON or for people."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from .. import guard, redact
from . import changes, console, exceptions, output, records
from .context import Event, add_context

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
# Of a second.
MICROSECONDS, NANOSECONDS = 1_000_000, 1_000_000_000
_HEAD = ("timestamp", "level", "event", "logger", "service")
_encoder = json.JSONEncoder(default=redact.shown, allow_nan=False)


class Current:
    """How lines are made now."""

    service = ""
    # The console's renderer; None for JSON.
    people: Any = None


def use(service: str, *, json: bool) -> None:
    """Name the service on each line, and choose its form."""
    Current.service = service
    Current.people = None if json else console.renderer()
    changes.tell()


def is_json() -> bool:
    """Whether lines are JSON."""
    return Current.people is None


class Named:
    """Where structlog's loggers of one name end; their level is the standard logger's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.standard = logging.getLogger(name or None)

    def log(self, line: bytes, level: int, fields: Mapping[str, Any]) -> None:
        output.write(line)
        records.record(self.name, fields["level"], fields)
        root = self.standard.root
        if len(root.handlers) > 1:
            _mirror(self.name, level, fields, root.handlers)

    debug = info = warning = error = critical = log


_named: dict[str, Named] = {}


def named(name: str = "", *_: Any) -> Named:
    """The end of the loggers of this name."""
    return _named.get(name) or _named.setdefault(name, Named(name))


class Logger(structlog.make_filtering_bound_logger(logging.NOTSET)):  # type: ignore[misc]
    """Structlog's filtering logger, whose level is that of the standard logger of its name."""

    def _proxy_to_logger(self, method: str, event: str | None = None, /, **fields: Any) -> Any:
        if self._logger.standard.isEnabledFor(LEVELS.get(method, logging.NOTSET)):
            return super()._proxy_to_logger(method, event, **fields)
        return None


def render(logger: Any, method: str, event: Event) -> Any:
    """The last of structlog's processors, and the only one: from the fields to the line."""
    line, fields = made(logger.name, method, event)
    return (line, LEVELS[method], fields), {}


def made(name: str, level: str, event: Event) -> tuple[bytes, dict[str, Any]]:
    """A line and its fields; what can't be told is told so, and never raised."""
    fields = head(_now(), name, level, event.pop("event", ""))
    try:
        return _made(fields, event)
    except Exception as error:
        guard.count("logs.line")
        if guard.strict:
            raise
        fields = {key: fields[key] for key in _HEAD if key in fields}
        fields["log_error"] = type(error).__name__
        return _json(fields).encode() + b"\n", fields


def text(fields: Mapping[str, Any]) -> str:
    """Fields as a line of JSON has them, and nothing from the context."""
    return _json(redact.fields(fields))


def head(timestamp: str, name: str, level: str, event: Any) -> dict[str, Any]:
    """The first fields of each line."""
    fields = {"timestamp": timestamp, "level": level, "event": event}
    if name:
        fields["logger"] = name
    if Current.service:
        fields["service"] = Current.service
    return fields


def _made(fields: dict[str, Any], event: Event) -> tuple[bytes, dict[str, Any]]:
    error = exceptions.of(event.pop("exc_info", None))
    if event.pop("stack_info", None):
        event["stack"] = "".join(traceback.format_stack(limit=exceptions.FRAMES))
    fields.update(add_context(None, "", event))
    fields = redact.fields(fields)
    if Current.people is None:
        if error is not None:
            fields["exception"] = exceptions.described(error)
        return _json(fields).encode() + b"\n", fields
    shown = console.line(Current.people, fields, error)
    if error is not None:
        fields["exception"] = exceptions.described(error)
    return shown.encode(errors="replace") + b"\n", fields


def _now() -> str:
    at = time.time_ns()
    return f"{seconds[at // NANOSECONDS]}.{at // 1000 % MICROSECONDS:06d}Z"


class _Seconds(dict[int, str]):
    """The texts of seconds since 1970; the last one is kept."""

    def __missing__(self, number: int) -> str:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(number))
        self.clear()
        self[number] = text
        output.look()
        return text


seconds = _Seconds()


def _once_made() -> Callable[[Any], str]:
    """JSON's encoder; the standard one makes its C part anew for each line, which is half its cost.

    Without markers: what was redacted holds nothing that holds itself.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    separators = (_encoder.key_separator, _encoder.item_separator)
    quoted = json.encoder.encode_basestring_ascii
    made = make(None, _encoder.default, quoted, None, *separators, False, False, False)
    return lambda value: "".join(made(value, 0))


_encode = _once_made()


def _json(fields: Any) -> str:
    try:
        return _encode(fields)
    except (TypeError, ValueError):
        # Keys that are no texts, numbers that JSON can't write.
        return _encode(_simple(fields))


def _simple(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _simple(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(each) for each in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int) and value.bit_length() <= 64:  # noqa: PLR2004  what others read
        return value
    return redact.shown(value)


def _mirror(
    name: str, level: int, fields: Mapping[str, Any], handlers: list[logging.Handler]
) -> None:
    """Give a line of structlog's to the handlers that the host has on the root logger."""
    rest = {key: value for key, value in fields.items() if key not in _HEAD}
    message = " ".join([str(fields["event"]), *(f"{key}={_json(rest[key])}" for key in rest)])
    record = logging.LogRecord(name, level, "", 0, message, (), None)
    for handler in list(handlers):
        if level >= handler.level and not getattr(handler, "ours", False):
            handler.handle(record)
