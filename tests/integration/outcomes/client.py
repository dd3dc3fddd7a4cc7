"""A program that publishes for the matrix, as a web process does; a socket tells it what."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Client
from typing import Any

from celery import Celery, chain, chord, group
from opentelemetry import trace

from tests.integration.outcomes.kit import app

tracer = trace.get_tracer("matrix")
# Several messages share a trace only where something is current that they belong to.
within_a_span = tracer.start_as_current_span("caller")


@cache
def _at(broker: str) -> Celery:
    return Celery("client", broker=broker, backend=os.environ["KIT_BROKER"], set_as_current=False)


def send(name: str, *args: Any, broker: str = "", **options: Any) -> str:
    """Publish by `apply_async`; to another broker by name. The id."""
    if broker:
        return str(_at(broker).send_task(name, args, queue="matrix", **options).id)
    return str(app.tasks[name].apply_async(args, **options).id)


def by_name(name: str, *args: Any) -> str:
    return str(app.send_task(name, args).id)


def unsendable(name: str, broker: str, task_id: str) -> dict[str, Any]:
    """Publish to a broker that isn't there; what was raised, and what is current after that."""
    raised = ""
    try:
        _at(broker).send_task(name, (1, 2), task_id=task_id, retry=False, queue="matrix")
    except Exception as error:  # noqa: BLE001  the matrix says what it has to be
        raised = type(error).__name__
    current = trace.get_current_span().get_span_context()
    return {"raised": raised, "current": current.is_valid, "next": send("r01.add", 1, 2)}


def eager(name: str, task_id: str) -> dict[str, Any]:
    """Run a task at once, here, within a span."""
    with tracer.start_as_current_span("caller") as span:
        result = app.tasks[name].apply((2, 3), task_id=task_id).get()
        return {"result": result, "caller": span.get_span_context().span_id}


def in_line() -> list[str]:
    """A chain of three: their ids, in order."""
    task = app.tasks["r29.add"]
    result = chain(task.s(1, 1), task.s(2), task.s(3)).apply_async()
    return [result.parent.parent.id, result.parent.id, result.id]


@within_a_span
def side_by_side() -> list[str]:
    """A group of three."""
    task = app.tasks["r29.add"]
    return [each.id for each in group(task.s(n, n) for n in range(3)).apply_async()]


@within_a_span
def joined() -> dict[str, Any]:
    """A chord of two, one of which adds a third."""
    tasks = app.tasks
    result = chord([tasks["r29.add"].s(1, 1), tasks["r29.joined"].si()])(tasks["r29.sum"].s())
    return {"header": [each.id for each in result.parent], "body": result.id}


@within_a_span
def plain_chord() -> dict[str, Any]:
    tasks = app.tasks
    result = chord([tasks["r29.add"].s(n, n) for n in range(3)])(tasks["r29.sum"].s())
    return {"header": [each.id for each in result.parent], "body": result.id}


@within_a_span
def failing_chord() -> dict[str, Any]:
    tasks = app.tasks
    result = chord([tasks["r28.fail"].s()])(tasks["r28.body"].s(1))
    return {"header": [each.id for each in result.parent], "body": result.id}


def starmap() -> str:
    return str(app.tasks["r29.add"].starmap([(1, 2), (3, 4)]).apply_async().id)


def failing(errback: str) -> str:
    """A task that fails and names an errback."""
    return str(app.tasks["r28.fail"].apply_async(link_error=app.tasks[errback].s()).id)


CALLS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        send, by_name, unsendable, eager, in_line, side_by_side, joined, plain_chord,
        failing_chord, starmap, failing,
    )
}  # fmt: skip


def main() -> None:
    connection = Client(os.environ["KIT_SOCKET"], "AF_UNIX")
    while (call := connection.recv()) is not None:
        name, args, options = call
        try:
            connection.send((CALLS[name](*args, **options), None))
        except Exception as error:  # noqa: BLE001  the test raises it
            connection.send((None, repr(error)))


if __name__ == "__main__":
    main()
