"""How a task ended, decided in one place; log, metric and alert are all written from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["success", "failure", "retry", "ignored", "rejected", "revoked", "expired"]


class Telling(NamedTuple):
    """How an outcome is told: its log level, its event, and whether a critical task alerts."""

    level: str
    event: str
    alertable: bool


TELLING: dict[Kind, Telling] = {
    "success": Telling("info", "task.succeeded", alertable=False),
    "failure": Telling("error", "task.failed", alertable=True),
    "retry": Telling("warning", "task.retried", alertable=False),
    "ignored": Telling("info", "task.ignored", alertable=False),
    "rejected": Telling("warning", "task.rejected", alertable=True),
    "revoked": Telling("warning", "task.revoked", alertable=True),
    "expired": Telling("warning", "task.revoked", alertable=True),
}

STATES: dict[str, Kind] = {
    "SUCCESS": "success",
    "FAILURE": "failure",
    "RETRY": "retry",
    "IGNORED": "ignored",
    "REJECTED": "rejected",
    "REVOKED": "revoked",
}

MESSAGE_LIMIT = 1000


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt of a task; `error_type` is a class name, empty where none applies."""

    kind: Kind
    error_type: str = ""
    message: str = ""

    @property
    def level(self) -> str:
        return TELLING[self.kind].level

    @property
    def event(self) -> str:
        return TELLING[self.kind].event

    @property
    def alertable(self) -> bool:
        return TELLING[self.kind].alertable


def decide(state: str | None, exception: object = None, *, expired: bool = False) -> Outcome:
    """Map what Celery says (its state and the exception, if any) to one Outcome.

    A state that Celery doesn't define, None included, is a failure: the task didn't get to an end.
    """
    kind: Kind = "expired" if expired else STATES.get(state or "", "failure")
    if kind == "success":
        return Outcome(kind)
    cause = _cause(kind, exception)
    return Outcome(kind, error_type(cause), _message(cause))


def error_type(cause: object) -> str:
    """The class name of an exception; a text stands for itself; nothing gives an empty string."""
    if cause is None:
        return ""
    return cause if isinstance(cause, str) else type(cause).__name__


def _cause(kind: Kind, exception: object) -> object:
    # Celery's Retry and Reject carry the real cause; alone they say no more than the kind does.
    if kind == "retry":
        return getattr(exception, "exc", None)
    if kind in ("rejected", "ignored"):
        reason = getattr(exception, "reason", None)
        return reason if isinstance(reason, BaseException) else None
    return exception


def _message(cause: object) -> str:
    if cause is None:
        return ""
    try:
        return str(cause)[:MESSAGE_LIMIT]
    except Exception:  # noqa: BLE001  a host's __str__ may raise anything
        return f"<{type(cause).__name__} that can't be shown>"
