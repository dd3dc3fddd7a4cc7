"""An exception as data: what and where, never the values of variables, and never without end."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from .. import redact

FRAMES = 30
CAUSES = 5
MEMBERS = 5
MESSAGE = 1000
MOST = 20  # exceptions in all: groups hold groups


def of(exc_info: Any) -> BaseException | None:
    """The exception that a logger's `exc_info` means."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) > 1 else None
    return sys.exc_info()[1] if exc_info else None


def described(error: BaseException) -> dict[str, Any]:
    """Type, message and frames of an exception, its causes, and the members of a group."""
    return _described(error, iter(range(MOST - 1)))


def _described(error: BaseException, budget: Iterator[int]) -> dict[str, Any]:
    found = _one(error)
    chain = itertools.islice(_causes(error), CAUSES)
    causes = [{**_one(cause), "how": how} for how, cause in chain if _any_left(budget)]
    if causes:
        found["causes"] = causes
    if isinstance(error, BaseExceptionGroup):
        members = error.exceptions[:MEMBERS]
        found["members"] = [_described(each, budget) for each in members if _any_left(budget)]
    return found


def _any_left(budget: Iterator[int]) -> bool:
    return next(budget, None) is not None


def _one(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    return {"type": name, "message": message(error), "frames": _frames(error.__traceback__)}


def message(error: BaseException) -> str:
    """What the exception says, without secrets, and cut where it is long."""
    try:
        return redact.text(str(error))[:MESSAGE]
    except Exception:  # noqa: BLE001  a host's __str__ may raise anything
        return "<can't be shown>"


def _causes(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    seen = {id(error)}
    current: BaseException | None = error
    while current is not None:
        how = "cause" if current.__cause__ is not None else "context"
        shown = None if current.__suppress_context__ else current.__context__
        current = current.__cause__ or shown
        if current is None or id(current) in seen:
            return
        seen.add(id(current))
        yield how, current


def _frames(traceback: TracebackType | None) -> list[dict[str, Any]]:
    """The frames from the outermost in; of a deep recursion the first and the last ones."""
    found = []
    while traceback is not None:
        found.append(traceback)
        traceback = traceback.tb_next
    if len(found) > FRAMES:
        found = found[: FRAMES // 3] + found[FRAMES // 3 - FRAMES :]
    return [_frame(each) for each in found]


def _frame(traceback: TracebackType) -> dict[str, Any]:
    code = traceback.tb_frame.f_code
    name = getattr(code, "co_qualname", code.co_name)
    return {"file": code.co_filename, "line": traceback.tb_lineno, "function": name}
