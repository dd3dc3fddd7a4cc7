"""An exception as an event of a span, bounded and without secrets."""

from __future__ import annotations

import traceback

from opentelemetry import trace

from .. import names, redact

MESSAGE = 1000  # characters
STACKTRACE = 16_000


def record(span: trace.Span, error: BaseException) -> None:
    """Add `error` to `span` as the semantic conventions have it; the end of a long trace is kept.

    The SDK's own `record_exception` cuts nothing and masks nothing.
    """
    if not span.is_recording():
        return
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    span.add_event(
        names.EXCEPTION,
        {
            names.EXCEPTION_TYPE: module + kind.__qualname__,
            names.EXCEPTION_MESSAGE: redact.text(_shown(error)[:MESSAGE]),
            names.EXCEPTION_STACKTRACE: redact.text(_stacktrace(error)[-STACKTRACE:]),
        },
    )


def _shown(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  a host's __str__ may raise anything
        return ""


def _stacktrace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001
        return ""
