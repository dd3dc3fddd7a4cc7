"""The current context, without the API's detours: each step is one call of its context variable."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.instrumentation import utils

_variable: Any = getattr(context._RUNTIME_CONTEXT, "_current_context", None)  # noqa: SLF001
_is_plain = isinstance(_variable, ContextVar)

_NO_TRACE = utils._SUPPRESS_INSTRUMENTATION_KEY, utils._SUPPRESS_INSTRUMENTATION_KEY_PLAIN  # type: ignore[attr-defined]  # noqa: SLF001


def is_suppressed(here: Context) -> bool:
    """Whether nothing is to be traced in this context, the current one."""
    get = here.get
    return bool(here and (get(_NO_TRACE[0]) or get(_NO_TRACE[1])))


def _detach(token: Token[Context]) -> None:
    try:
        _variable.reset(token)
    except (ValueError, RuntimeError):
        # In another thread or greenlet than it was attached in there is nothing to undo, nor where
        # it was undone and a signal's exception has kept its caller from noting that.
        return


# Where the host has chosen another runtime context, the API's own functions.
get_current: Any = _variable.get if _is_plain else context.get_current
attach: Any = _variable.set if _is_plain else context.attach
detach: Any = _detach if _is_plain else context.detach
# For who is in the same function, and so surely where it was attached.
reset: Any = _variable.reset if _is_plain else context.detach
