"""The form for people: one coloured line, the traceback below it, nothing that moves the cursor."""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import Any

import structlog

from .. import redact

_CLOCK = slice(11, 23)
_FRAMES = 30
# Control characters, line separators, and marks that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def wants_colour() -> bool:
    """Whether to colour: NO_COLOR says no, FORCE_COLOR yes, else a terminal on stdout."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def renderer() -> Any:
    """Structlog's console renderer."""
    return structlog.dev.ConsoleRenderer(colors=wants_colour(), pad_event_to=24, sort_keys=False)


def line(render: Any, fields: dict[str, Any], error: BaseException | None) -> str:
    """The line of these fields, and below it the traceback and stack."""
    fields = {_plain(str(key)): _plain(value) for key, value in fields.items()}
    fields["timestamp"] = str(fields["timestamp"])[_CLOCK]
    fields.pop("span_id", None)
    if str(fields.get("logger", "")).startswith("followthrough."):
        del fields["logger"]
    for key in ("service", "trace_id"):
        if key in fields:
            fields[key] = fields.pop(key)
    text: str = render(None, "", fields)
    return text if error is None else f"{text}\n{_traceback(error)}"


def _plain(value: Any) -> Any:
    return _CONTROLS.sub(_escaped, value) if isinstance(value, str) else value


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _traceback(error: BaseException) -> str:
    """A traceback, each of its lines indented, so that none can pass for a line of its own."""
    told = traceback.TracebackException.from_exception(error, limit=-_FRAMES, compact=True)
    text = redact.text("".join(told.format()))
    return "\n".join(f"    {_plain(each)}" for each in text.rstrip("\n").split("\n"))
