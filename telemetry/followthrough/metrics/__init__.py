"""Metrics: one catalogue, values that all processes of the host share, one exposition."""

from __future__ import annotations

import functools
import typing
from typing import TYPE_CHECKING, Literal

from . import catalogue, labels
from .ends import Requests, Tasks
from .store import use

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..outcome import Outcome, RequestOutcome
    from .store import Number

__all__ = [
    "announce",
    "count_dropped_alert",
    "count_error",
    "count_not_held",
    "count_published",
    "count_quarantine_dropped",
    "count_restored",
    "observe_request",
    "observe_task",
    "requests",
    "tasks",
    "use",
]


MOST_SERIES = 1024
DropReason = Literal["full", "unwritable"]


def observe_request(method: str, route: str, outcome: RequestOutcome, seconds: float) -> None:
    """Count one HTTP request; `route` is the template, empty where none matched."""
    requests(method, route, outcome.status, outcome.error_type).add(seconds)


def count_published(task: str, queue: str) -> None:
    """Count one task handed to the broker."""
    _published(task, queue).inc(1.0)


def observe_task(task: str, outcome: Outcome, seconds: float | None) -> None:
    """Count the end of one attempt; `seconds` is None where the run time isn't known."""
    if seconds is None:
        _results(task, outcome.kind, outcome.error_type).inc(1.0)
    else:
        tasks(task, outcome.kind, outcome.error_type).add(seconds)


# To look a series up by its labels costs as much as to add to it.
@functools.lru_cache(MOST_SERIES)
def requests(method: str, route: str, status: int, error_type: str) -> Requests:
    """The series of requests that end like this."""
    kind = labels.error_type(route, error_type)
    found = catalogue.request_duration.labels(labels.method(method), route, str(status or ""), kind)
    return Requests(found.numbers)


@functools.lru_cache(MOST_SERIES)
def tasks(task: str, kind: str, error_type: str) -> Tasks:
    """The series of attempts of a task that end like this."""
    found = catalogue.task_duration.labels(labels.task(task), kind)
    return Tasks(found.numbers, _results(task, kind, error_type))


@functools.lru_cache(MOST_SERIES)
def _published(task: str, queue: str) -> Number:
    return catalogue.tasks_published.labels(labels.task(task), labels.queue(queue)).number


@functools.lru_cache(MOST_SERIES)
def _results(task: str, kind: str, error_type: str) -> Number:
    name = labels.task(task)
    return catalogue.task_results.labels(name, kind, labels.error_type(name, error_type)).number


def announce(tasks: Iterable[str]) -> None:
    """Create the series of known tasks and of lost alerts at zero, so that a first one shows."""
    for task in tasks:
        for kind in ("success", "failure", "retry", "lost"):
            catalogue.task_results.labels(labels.task(task), kind, "")
    for reason in typing.get_args(DropReason):
        catalogue.alerts_dropped.labels(reason)


def count_dropped_alert(reason: DropReason) -> None:
    """Count one alert that nobody will be told: the spool was full, or the disk took no file."""
    catalogue.alerts_dropped.labels(reason).inc()


def count_quarantine_dropped(number: int) -> None:
    """Count messages that were removed from quarantine to make room for a newer one."""
    if number:
        catalogue.quarantine_dropped.labels("full").inc(number)


def count_not_held() -> None:
    """Count a message that would not be given back at once if its worker were killed."""
    catalogue.messages_not_held.labels("full").inc()


def count_restored(queue: str) -> None:
    """Count a message that a killed worker held and that was given back to its queue."""
    catalogue.messages_restored.labels(labels.queue(queue)).inc()


def count_error(where: str) -> None:
    """Count one error inside telemetry itself."""
    catalogue.telemetry_errors.labels(where).inc()
