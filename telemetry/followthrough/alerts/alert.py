"""The alert: what one critical task's bad end tells the people who answer for it."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from .. import redact

NAME_LIMIT = 200
MESSAGE_LIMIT = 2000
# What follows is cut without a look, so that a message of megabytes costs its task nothing.
MESSAGE_READ = 16_000
LATEST = 253_402_300_799.0  # the end of the year 9999
_ID = re.compile(r"msg_[A-Za-z0-9]{1,60}", re.ASCII)


@dataclass(frozen=True)
class Alert:
    """One alert.

    `id` stays the same over every delivery of it; `fingerprint` is shared by alerts of one cause;
    `timestamp` is in unix seconds. Raises ValueError for an id that could not be a file name or a
    header, or a timestamp that is no date.
    """

    id: str
    fingerprint: str
    task: str
    task_id: str
    outcome: str
    error_type: str
    message: str
    trace_id: str
    service: str
    timestamp: float

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError("an alert's id is msg_ and letters or digits")
        if not 0.0 <= self.timestamp <= LATEST:
            raise ValueError("an alert's timestamp is in seconds since 1970")


def new_alert(
    *,
    task: str,
    task_id: str,
    outcome: str,
    error_type: str = "",
    message: str = "",
    trace_id: str = "",
    service: str = "",
    timestamp: float | None = None,
) -> Alert:
    """An alert with its id and fingerprint; long texts are cut, secrets masked.

    The id follows from `task_id` and `outcome`, so that the same end, reported twice, is one alert.
    """
    return Alert(
        id=_id(task_id, outcome),
        fingerprint=fingerprint(task, outcome, error_type),
        task=_text(task, NAME_LIMIT),
        task_id=_text(task_id, NAME_LIMIT),
        outcome=_text(outcome, NAME_LIMIT),
        error_type=_text(error_type, NAME_LIMIT),
        message=_text(redact.text(message[:MESSAGE_READ]), MESSAGE_LIMIT, len(message)),
        trace_id=_text(trace_id, NAME_LIMIT),
        service=_text(service, NAME_LIMIT),
        timestamp=time.time() if timestamp is None else float(timestamp),
    )


def fingerprint(task: str, outcome: str, error_type: str) -> str:
    """The same 16 hex digits for each alert of one cause, on every host and at any time."""
    return _digest(task, outcome, error_type)[:16]


def to_json(alert: Alert) -> bytes:
    """`alert` as one line of UTF-8 JSON, at most 20 KB for what `new_alert` made."""
    text = json.dumps(asdict(alert), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def from_json(data: bytes | str) -> Alert:
    """The alert in `data`, members of later versions left out; raises ValueError if it has none."""
    try:
        value = json.loads(data)
        return Alert(**{name: read(value[name]) for name, read in _MEMBERS.items()})
    except (TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"no alert: {type(error).__name__}") from error


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _as_number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("not a number")
    return float(value)


_MEMBERS: dict[str, Callable[[Any], Any]] = {
    field.name: _as_number if field.name == "timestamp" else _as_text for field in fields(Alert)
}


def _id(task_id: str, outcome: str) -> str:
    # Without a task id (an undecodable message) nothing tells two ends apart, so none is dropped.
    return "msg_" + (_digest(task_id, outcome)[:32] if task_id else uuid.uuid4().hex)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _text(text: str, limit: int, length: int | None = None) -> str:
    clean = text.encode("utf-8", "replace").decode()
    if len(clean) <= limit:
        return clean
    mark = f"... ({length or len(clean)} characters)"
    return clean[: limit - len(mark)] + mark
