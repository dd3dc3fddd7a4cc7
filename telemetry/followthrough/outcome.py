"""How a task ended, decided in one place; span, log, metric and alert are all written from it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal[
    "success",
    "failure",
    "retry",
    "ignored",
    "rejected",
    "requeued",
    "revoked",
    "terminated",
    "expired",
    "lost",
    "unregistered",
    "undecodable",
    "quarantined",
    "publish_failed",
    "not_stored",
    "abandoned",
]
# Who says it: the process that ran the task, the worker's main process, or, for both, the agent.
Process = Literal["task", "main", "agent"]


class Telling(NamedTuple):
    """How an outcome is told.

    `is_error` sets the span's status; `error_type` stands where Celery names no exception;
    `alertable` says whether a critical task alerts.
    """

    meaning: str
    event: str
    level: str
    is_error: bool
    alertable: bool
    error_type: str = ""


def _fine(meaning: str, event: str, level: str = "info") -> Telling:
    return Telling(meaning, event, level, is_error=False, alertable=False)


def _bad(meaning: str, event: str, error_type: str = "", level: str = "error") -> Telling:
    return Telling(meaning, event, level, is_error=True, alertable=True, error_type=error_type)


# In OpenTelemetry's words an error that is retried or handled is not recorded as one; `error.type`
# still names the cause of a retry. docs/outcomes.md is made from this table.
TELLING: dict[Kind, Telling] = {
    "success": _fine("It returned, and its result is stored if it is to be.", "task.succeeded"),
    "failure": _bad(
        "It raised, ran out of time, or its result could not be encoded.", "task.failed"
    ),
    "retry": _fine("This attempt failed; Celery has sent the next one.", "task.retried", "warning"),
    "ignored": _fine("It raised Ignore, or put another task in its place.", "task.ignored"),
    "rejected": _bad("It raised Reject; the message is dropped.", "task.rejected", "", "warning"),
    "requeued": _fine("Its message went back to the queue.", "task.requeued", "warning"),
    "revoked": Telling(
        "Somebody revoked it before it ran.", "task.revoked", "warning", False, alertable=True
    ),
    "terminated": _bad(
        "Somebody revoked it while it ran.", "task.terminated", "Terminated", "warning"
    ),
    "expired": _bad("It did not start before it expired.", "task.expired", "Expired", "warning"),
    "lost": _bad("Its process ended before it did.", "task.lost", "ProcessLost"),
    "unregistered": _bad(
        "The worker knows no task of its name.", "task.unregistered", "NotRegistered"
    ),
    "undecodable": _bad("Its message could not be read.", "task.undecodable", "DecodeError"),
    "quarantined": _bad(
        "Its message was put aside: unreadable, or it took its process down too often.",
        "task.quarantined",
        "Quarantined",
    ),
    "publish_failed": _bad("The broker did not take it.", "task.publish_failed"),
    "not_stored": _bad(
        "It succeeded; its result or what follows could not be kept.", "task.not_stored"
    ),
    "abandoned": _bad("It never runs: a task it waits for failed.", "task.abandoned", "ChordError"),
}

# Celery's states, and Celery's signals for ends that have no state of their own.
SAID: dict[str, Kind] = {
    "SUCCESS": "success",
    "FAILURE": "failure",
    "RETRY": "retry",
    "IGNORED": "ignored",
    "REJECTED": "rejected",
    "REVOKED": "revoked",
    "task_unknown": "unregistered",
    "task_rejected": "undecodable",
    "task_internal_error": "not_stored",
    # Ours, for what Celery tells nobody.
    "quarantined": "quarantined",
    "publish_failed": "publish_failed",
    "abandoned": "abandoned",
}

MESSAGE_LIMIT = 1000
CLIENT_ERROR, SERVER_ERROR = 400, 500


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt of a task; `error_type` is a class name, empty where none applies."""

    kind: Kind
    error_type: str = ""
    message: str = ""
    # The task lists its exception in `throws`: it failed, and nobody is to be troubled with it.
    expected: bool = False
    # By TELLING, looked up once: each is asked for several times, and most outcomes are SUCCESS.
    event: str = field(init=False, repr=False, compare=False)
    level: str = field(init=False, repr=False, compare=False)
    is_error: bool = field(init=False, repr=False, compare=False)
    alertable: bool = field(init=False, repr=False, compare=False)
    # It is a success, as nearly all are, with nothing besides.
    is_usual: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        telling = TELLING[self.kind]
        beside = self.error_type or self.message or self.expected
        vars(self).update(
            is_usual=self.kind == "success" and not beside,
            event=telling.event,
            level="info" if self.expected else telling.level,
            is_error=telling.is_error and not self.expected,
            alertable=telling.alertable and not self.expected,
        )


SUCCESS = Outcome("success")


def decide(
    said: str | None,
    cause: object = None,
    *,
    by: Process = "task",
    expired: bool = False,
    terminated: bool = False,
    expected: bool = False,
) -> Outcome:
    """Map what Celery said to one Outcome.

    `said` is a state or the name of a signal in SAID; `cause` the exception, if any, or a text that
    stands for its class. What Celery doesn't define, None included, is a failure, and said by
    another process than the task's own, a loss: the task didn't get to an end. `expected` says that
    the task lists its exception in `throws`.
    """
    if said == "SUCCESS" and not (expired or terminated):
        return SUCCESS
    kind = _kind(said, cause, by, expired=expired, terminated=terminated)
    found = _cause(kind, cause)
    name = error_type(found) or TELLING[kind].error_type
    return Outcome(kind, name, _message(found), expected=expected)


def _kind(said: str | None, cause: object, by: Process, *, expired: bool, terminated: bool) -> Kind:
    if expired or terminated:
        return "expired" if expired else "terminated"
    kind = SAID.get(said or "")
    if kind == "rejected" and getattr(cause, "requeue", False):
        return "requeued"
    if by != "task" and (kind is None or (kind == "failure" and _is_loss(cause))):
        return "lost"
    return kind or "failure"


def _is_loss(cause: object) -> bool:
    return error_type(cause) == "WorkerLostError"


def error_type(cause: object) -> str:
    """The class name of an exception; a text stands for itself; nothing gives an empty string."""
    if cause is None:
        return ""
    return cause if isinstance(cause, str) else type(cause).__name__


def _cause(kind: Kind, cause: object) -> object:
    # Celery's Retry and Reject carry the real cause; alone they say no more than the kind does.
    if kind == "retry":
        return getattr(cause, "exc", None)
    if kind in ("rejected", "requeued", "ignored"):
        reason = getattr(cause, "reason", None)
        return reason if isinstance(reason, BaseException) else None
    return cause


def _message(cause: object) -> str:
    if cause is None:
        return ""
    try:
        return str(cause)[:MESSAGE_LIMIT]
    except Exception:  # noqa: BLE001  a host's __str__ may raise anything
        return f"<{type(cause).__name__} that can't be shown>"


RequestKind = Literal["success", "refused", "failure", "disconnected", "lost"]


class RequestTelling(NamedTuple):
    """How the end of a request is told: what it means, its log level, and its span's status."""

    meaning: str
    level: str
    is_error: bool


# As OpenTelemetry's conventions have it, what the caller did wrong is no error of the server.
REQUEST_TELLING: dict[RequestKind, RequestTelling] = {
    "success": RequestTelling("It was answered.", "info", is_error=False),
    "refused": RequestTelling("It was answered with a 4xx status.", "info", is_error=False),
    "failure": RequestTelling(
        "It was answered with a 5xx status, or raised.", "error", is_error=True
    ),
    "disconnected": RequestTelling(
        "The caller went away before the end of the answer.", "info", is_error=False
    ),
    "lost": RequestTelling("Its process ended before it did.", "error", is_error=True),
}


@dataclass(frozen=True)
class RequestOutcome:
    """The end of a request; `status` is 0 where no answer was begun, `error_type` as in a task's.

    `error_type` is a status of 5xx where no exception is known to have caused it.
    """

    kind: RequestKind
    status: int
    error_type: str = ""
    message: str = ""
    # By REQUEST_TELLING.
    level: str = field(init=False, repr=False, compare=False)
    is_error: bool = field(init=False, repr=False, compare=False)
    # It is all in its status, as with nearly all.
    is_usual: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        telling = REQUEST_TELLING[self.kind]
        is_usual = self.status > 0 and self.kind == _kind_of(self.status)
        is_usual = is_usual and not (self.error_type or self.message)
        vars(self).update(level=telling.level, is_error=telling.is_error, is_usual=is_usual)


def decide_request(
    status: int,
    exception: object = None,
    *,
    raised: bool = False,
    disconnected: bool = False,
) -> RequestOutcome:
    """Map a status and what is known besides to one outcome.

    `exception` is what the application failed with, handled or not; `raised` says that it went on
    to the server, which answers 500 if nothing was sent.
    """
    if raised:
        return RequestOutcome("failure", status or SERVER_ERROR, *_told(exception))
    if status >= SERVER_ERROR:
        if exception is not None:
            return RequestOutcome("failure", status, *_told(exception))
    elif disconnected:
        return RequestOutcome("disconnected", status, "ClientDisconnected")
    return answered(status)


# Made once for each status, as this is how nearly all requests end.
@functools.lru_cache
def answered(status: int) -> RequestOutcome:
    """The outcome of a request of which no more is known than the status it was answered with."""
    if status >= SERVER_ERROR:
        return RequestOutcome("failure", status, str(status))
    return RequestOutcome(_kind_of(status), status)


def _kind_of(status: int) -> RequestKind:
    return "refused" if status >= CLIENT_ERROR else "success"


def lost_request(error_type: str, message: str) -> RequestOutcome:
    """The outcome of a request whose process ended, with the cause that is known of it."""
    return RequestOutcome("lost", 0, error_type, message[:MESSAGE_LIMIT])


def _told(exception: object) -> tuple[str, str]:
    return error_type(exception), _message(exception)
