"""Lines as OTLP log records, beside stdout, where a setting wants them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import names
from . import changes

if TYPE_CHECKING:
    from ..recorder.logs import LogRecorder

# What a log record has fields of its own for, or its resource says.
_TOLD = frozenset({"timestamp", "level", "event", "logger", "service"})


class Current:
    """Where lines are recorded now."""

    recorder: LogRecorder | None = None


def use(recorder: LogRecorder | None) -> None:
    """Record lines from now on; None ends that."""
    Current.recorder = recorder
    changes.tell()


def record(name: str, level: str, fields: Mapping[str, Any]) -> None:
    """Record a line, if lines are recorded: its event as the body, its other fields beside it."""
    if Current.recorder is None:
        return
    trace_id, span_id = _id(fields.get("trace_id"), 32), _id(fields.get("span_id"), 16)
    left_out = _TOLD | {"trace_id"} if trace_id else _TOLD
    left_out = left_out | {"span_id"} if span_id else left_out
    attributes = {key: value for key, value in fields.items() if key not in left_out}
    if isinstance(error := attributes.get("exception"), Mapping):
        attributes = {**attributes, **_exception(error)}
        del attributes["exception"]
    body = fields.get("event")
    Current.recorder.log(name, level, body, attributes, trace_id=trace_id, span_id=span_id)


def _exception(error: Mapping[str, Any]) -> dict[str, Any]:
    """An exception of a line as the semantic conventions' attributes."""
    frames = [
        f'  File "{at["file"]}", line {at["line"]}, in {at["function"]}' for at in error["frames"]
    ]
    return {
        names.EXCEPTION_TYPE: error["type"],
        names.EXCEPTION_MESSAGE: error["message"],
        names.EXCEPTION_STACKTRACE: "\n".join([*frames, f"{error['type']}: {error['message']}"]),
    }


def _id(value: Any, digits: int) -> int:
    try:
        return int(value, 16) if isinstance(value, str) and len(value) == digits else 0
    except ValueError:
        return 0
