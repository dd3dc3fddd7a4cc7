"""One outcome, told once: a log line, a count and, for a critical task, an alert.

It knows no Celery, so that the agent tells what dead processes can't in the same way.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from . import logs, metrics, names
from .alerts import keep
from .logs import context
from .logs.chain import MICROSECONDS, NANOSECONDS
from .logs.chain import seconds as seconds_of
from .logs.context import FIELDS, bound
from .logs.output import write
from .logs.usual import Usual, config, quoted, root
from .tracing.current import get_current

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .metrics.ends import Requests
    from .outcome import Kind, Outcome, RequestOutcome

# Where a span says why, if its status does not call that an error.
REASONS: dict[Kind, str] = {
    "retry": names.CELERY_RETRY_REASON,
    "requeued": names.CELERY_REQUEUE_REASON,
}

_TASKS, _REQUESTS = "followthrough.celery", "followthrough.flask"


@dataclass(slots=True)
class _Alike:
    """The text of the lines of requests or tasks that are alike, and where they are counted."""

    text: str
    series: Requests


_usual_task: Usual[_Alike] = Usual(_TASKS)
_usual_request: Usual[_Alike] = Usual(_REQUESTS)
_task_logger, _request_logger = _usual_task.standard, _usual_request.standard
_REQUEST_ID = names.REQUEST_ID
# What a task's context carries; of the last two there are few values.
_CARRIED = [names.TASK_ID, names.TASK, names.ATTEMPT, names.QUEUE]
_IDS = '"trace_id": "%s", "span_id": "%s"'

logger = structlog.get_logger(_TASKS)


# Whether a line of a level is written at all; asked before the line is made.
logs_at = _task_logger.isEnabledFor
# What was found of that, False where none is; to ask is as many steps as half a hook.
found_levels: Mapping[int, bool] = _task_logger._cache  # noqa: SLF001


def task(
    outcome: Outcome,
    name: str,
    task_id: str,
    *,
    critical: bool = False,
    seconds: float | None = None,
    wait: float | None = None,
    exception: BaseException | None = None,
    label: str | None = None,
    service: str = "",
    trace_id: str = "",
    span_id: str = "",
    **fields: Any,
) -> None:
    """Write the log line, the metric (under `label`, else the task's name) and the alert.

    `seconds` is how long it ran, `wait` how long it waited for that, None where that isn't known;
    `service` is whose task it was, if not this program's; `trace_id` and `span_id` are its span's,
    in hex; `fields` go into the line.
    """
    # All in one go for nearly all tasks: each step costs as much as what it does.
    carried = get_current().get(FIELDS)
    if not (
        outcome.is_usual
        and seconds is not None
        and trace_id
        and span_id
        and task_id.__class__ is str
        and not (fields or service or label)
        # It is finite.
        and (wait is None or not wait - wait)
        and carried is not None
        and [*carried] == _CARRIED
        and (
            (
                config.default_processors,
                root.handlers,
                _task_logger._cache,  # noqa: SLF001
                _task_logger.disabled,
                context.of_structlog,
                bound(),
            )
            == _usual_task.seen
            or _usual_task.look()
        )
    ):
        if service:
            fields["service"] = service
        if outcome.kind == "failure" and exception is not None:
            fields["exc_info"] = exception
        _line_of_task(outcome, name, task_id, seconds, wait, trace_id, span_id, fields)
        metrics.observe_task(label or name, outcome, seconds)
        if critical and outcome.alertable:
            keep.alert(
                task=name,
                task_id=task_id,
                outcome=outcome.kind,
                error_type=outcome.error_type,
                message=outcome.message,
                trace_id=trace_id,
                service=service,
            )
        return
    _, _, attempt, queue = carried.values()
    try:
        # With its class, as True and 1.0 are found under 1 too.
        kept = _usual_task.kept[name, attempt, attempt.__class__, queue]
    except (KeyError, TypeError):
        kept = _keep_task(outcome, name, attempt, queue)
    at = time.time_ns()
    line = kept.text % (
        seconds_of[at // NANOSECONDS],
        at // 1000 % MICROSECONDS,
        int(seconds * 1e6 + 0.5) / 1e6,
        quoted(task_id),
        trace_id,
        span_id,
        "" if wait is None else f', "wait": {wait!r}',
    )
    write(line.encode())
    kept.series.add(seconds)


def request(
    outcome: RequestOutcome,
    method: str,
    route: str,
    request_id: str,
    seconds: float,
    trace_id: str = "",
    span_id: str = "",
    **fields: Any,
) -> None:
    """Write the log line and the metric of a request.

    `route` is empty where none matched; `trace_id` and `span_id` are its span's, in hex; `fields`
    go into the line.
    """
    carried = get_current().get(FIELDS)
    # As for a task.
    if not (
        outcome.is_usual
        and trace_id
        and span_id
        and not fields
        and (carried is None or carried == {_REQUEST_ID: request_id})
        and (
            (
                config.default_processors,
                root.handlers,
                _request_logger._cache,  # noqa: SLF001
                _request_logger.disabled,
                context.of_structlog,
                bound(),
            )
            == _usual_request.seen
            or _usual_request.look()
        )
    ):
        _line_of_request(outcome, method, route, request_id, seconds, trace_id, span_id, fields)
        metrics.observe_request(method, route, outcome, seconds)
        return
    try:
        kept = _usual_request.kept[method, route, outcome.status]
    except KeyError:
        kept = _keep_request(outcome, method, route)
    at = time.time_ns()
    line = kept.text % (
        seconds_of[at // NANOSECONDS],
        at // 1000 % MICROSECONDS,
        int(seconds * 1e6 + 0.5) / 1e6,
        quoted(request_id),
        trace_id,
        span_id,
    )
    write(line.encode())
    kept.series.add(seconds)


def _line_of_task(
    outcome: Outcome,
    name: str,
    task_id: str,
    seconds: float | None,
    wait: float | None,
    trace_id: str,
    span_id: str,
    fields: dict[str, Any],
) -> None:
    about = _ids(trace_id, span_id) | fields | _error(outcome)
    if wait is not None:
        about["wait"] = wait
    logs.line(
        _TASKS,
        outcome.level,
        outcome.event,
        task=name,
        outcome=outcome.kind,
        duration=None if seconds is None else _rounded(seconds),
        task_id=task_id,
        **about,
    )


def _line_of_request(
    outcome: RequestOutcome,
    method: str,
    route: str,
    request_id: str,
    seconds: float,
    trace_id: str,
    span_id: str,
    fields: dict[str, Any],
) -> None:
    logs.line(
        _REQUESTS,
        outcome.level,
        names.REQUEST_FINISHED,
        method=method,
        route=route,
        status=outcome.status or None,
        outcome=outcome.kind,
        duration=_rounded(seconds),
        request_id=request_id,
        **_ids(trace_id, span_id),
        **fields,
        **_error(outcome),
    )


def _rounded(seconds: float) -> float:
    # As `round` to microseconds does it, in a third of the time.
    return int(seconds * 1e6 + 0.5) / 1e6


def _keep_request(outcome: RequestOutcome, method: str, route: str) -> _Alike:
    kept, status = _usual_request.kept, outcome.status
    first = {
        "method": method,
        "route": route,
        "status": status or None,
        names.OUTCOME: outcome.kind,
    }
    places = f'"{names.DURATION}": %r, "{names.REQUEST_ID}": %s, {_IDS}'
    text = _usual_request.text(names.REQUEST_FINISHED, first, places, {})
    made = _Alike(text, metrics.requests(method, route, status, outcome.error_type))
    _usual_request.keep(kept, (method, route, status), made)
    return made


def _keep_task(outcome: Outcome, name: str, attempt: object, queue: object) -> _Alike:
    kept = _usual_task.kept
    first = {names.TASK: name, names.OUTCOME: outcome.kind}
    last = {names.ATTEMPT: attempt, names.QUEUE: queue}
    places = f'"{names.DURATION}": %r, "{names.TASK_ID}": %s, {_IDS}%s'
    text = _usual_task.text(outcome.event, first, places, last)
    made = _Alike(text, metrics.tasks(name, outcome.kind, outcome.error_type))
    if type(attempt) is int and type(queue) is str:
        _usual_task.keep(kept, (name, attempt, int, queue), made)
    return made


def _ids(trace_id: str, span_id: str) -> dict[str, Any]:
    found = {names.TRACE_ID: trace_id, names.SPAN_ID: span_id}
    return {key: value for key, value in found.items() if value}


def _error(outcome: Outcome | RequestOutcome) -> dict[str, Any]:
    found = {names.ERROR_TYPE_FIELD: outcome.error_type, names.ERROR: outcome.message}
    return {key: value for key, value in found.items() if value}
