"""The workers and the queues, asked for within a second."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify
from flask.blueprints import BlueprintSetupState
from pydantic import BaseModel

from app.routes.document import described
from app.services import overview
from app.services.breaker import UnreachableError

blueprint = Blueprint("monitoring", __name__)
root_blueprint = blueprint


class Worker(BaseModel):
    name: str
    active_tasks: int
    reserved_tasks: int
    concurrency: int


class Workers(BaseModel):
    workers: list[Worker]


class Queue(BaseModel):
    """`oldest_age_seconds` is the age of the message that is next, if it is known."""

    workers: list[str]
    length: int
    oldest_age_seconds: float | None


class Queues(BaseModel):
    """`unacked`: how many messages workers hold, of all queues together."""

    queues: dict[str, Queue]
    unacked: int | None


class Healthy(BaseModel):
    status: str
    workers: list[str]


class Monitor:
    """What was found last, for all threads of this process."""

    def __init__(self) -> None:
        self._workers = overview.Workers()
        self._found: overview.Shared[list[dict[str, Any]]] = overview.Shared()
        self._queues: overview.Shared[dict[str, Any]] = overview.Shared()

    def workers(self) -> list[dict[str, Any]]:
        """Raises UnreachableError."""
        return self._found.get(self._ask_workers)

    def queues(self) -> dict[str, Any]:
        """Raises UnreachableError."""
        return self._queues.get(self._ask_queues)

    def _ask_workers(self) -> list[dict[str, Any]]:
        breakers = current_app.extensions["breakers"]
        with breakers["broker"](), breakers["result backend"]():
            return self._workers.ask(current_app.extensions["celery"])

    def _ask_queues(self) -> dict[str, Any]:
        with current_app.extensions["breakers"]["broker"]():
            return overview.queues(current_app.extensions["celery"])


@blueprint.record
def _remember(setup: BlueprintSetupState) -> None:
    setup.app.extensions.setdefault("monitor", Monitor())


def _monitor() -> Monitor:
    monitor: Monitor = current_app.extensions["monitor"]
    return monitor


@blueprint.get("/monitoring/workers")
@described("Monitoring", answers={200: Workers})
def workers() -> dict[str, Any]:
    """The workers that answer, and how busy they are."""
    shown = [{name: each[name] for name in Worker.model_fields} for each in _monitor().workers()]
    return {"workers": shown}


@blueprint.get("/monitoring/queues")
@described("Monitoring", answers={200: Queues})
def queues() -> dict[str, Any]:
    """The queues: who consumes them, how long they are, and how old the next message is."""
    found, answered = _monitor().queues(), _monitor().workers()
    lines = {
        name: {"workers": [each["name"] for each in answered if name in each["queues"]], **line}
        for name, line in found["queues"].items()
    }
    return {"queues": lines, "unacked": found["unacked"]}


@blueprint.get("/monitoring/health")
@described("Monitoring", answers={200: Healthy, 503: "application/json"}, alone=True)
def health() -> Response:
    """Whether any worker answers."""
    try:
        names = [each["name"] for each in _monitor().workers()]
    except UnreachableError as error:
        return _unhealthy(error=str(error))
    if not names:
        return _unhealthy(message="No workers responding")
    return jsonify(status="healthy", workers=names)


def _unhealthy(**members: str) -> Response:
    response = jsonify(status="unhealthy", **members)
    response.status_code = 503
    return response
