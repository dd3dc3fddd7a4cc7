"""Reports: asking for one, and fetching it."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response, abort, send_file
from pydantic import Field, WithJsonSchema

from app import registry
from app.errors import InvalidError, problem
from app.routes import answers, body
from app.routes.document import Accepted, described
from app.services.files import OutsideError
from app.services.reports import ParametersError, UnknownTypeError, scope, store, types
from app.tasks.reports import generate_report

blueprint = Blueprint("reports", __name__)

RETRY_AFTER = "2"  # seconds, about as long as a report takes


class Wanted(body.Body):
    report_type: Annotated[str, WithJsonSchema({"type": "string", "enum": list(types.TYPES)})]
    parameters: Annotated[dict[str, Any], Field(default_factory=dict)]


@blueprint.post("/generate-report")
@described(
    "Reports",
    request=Wanted,
    answers={202: Accepted},
    problems={422: "There is no such type of report; `detail` names those there are."},
    example={"report_type": "payments", "parameters": {"status": "completed"}},
)
def queue_report() -> Response:
    """Queue a report."""
    wanted = body.read(Wanted)
    try:
        asked = scope(wanted.report_type, wanted.parameters)
    except UnknownTypeError as error:
        return _unknown_type(str(error))
    except ParametersError as error:
        fields = [(f"parameters.{field}", wrong) for field, wrong in error.fields]
        raise InvalidError(fields) from None
    # With nothing left open, so that it is the same report whenever the task runs.
    result = registry.publish(generate_report.s(asked.type, dict(asked.parameters)))
    return answers.accepted("Report generation started", result.id)


def _unknown_type(wrong: str) -> Response:
    errors = [{"field": "report_type", "detail": wrong}]
    return problem(422, "Unprocessable Content", f"report_type: {wrong}", errors=errors)


@blueprint.get("/reports/<report_id>")
@described(
    "Reports",
    path={"report_id": {"description": "The `report_id` of a report's result, or its task's id."}},
    answers={200: "application/pdf"},
    problems={
        404: "No report has this id.",
        409: "The report is still being made.",
        410: "The report failed, or its file is gone.",
    },
)
def report(report_id: str) -> Response:
    """A report's file, by its id or by the id of the task that makes it."""
    found = store.find(store.identity(report_id)) if store.is_task_id(report_id) else None
    if found is None:
        abort(404, "No report has this id.")
    if not found.completed:
        return _unfinished(found)
    try:
        path = store.path(found)
    except OutsideError:
        abort(410, "The report's file is gone; ask for the report again.")
    return send_file(path, "application/pdf", as_attachment=True, download_name=found.download_name)


def _unfinished(found: store.Report) -> Response:
    if found.failed:
        abort(410, "The report could not be made; its task's status says why.")
    response = problem(409, "Conflict", "The report is still being made.")
    response.headers["Retry-After"] = RETRY_AFTER
    return response
