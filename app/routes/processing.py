"""Processing imported datasets."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from app import registry
from app.routes import answers, body
from app.routes.document import Accepted, described
from app.services import datasets
from app.tasks.processing import process_data

blueprint = Blueprint("processing", __name__)

LARGEST_ID = 2**31 - 1  # as in the table


class Nothing(body.Body):
    pass


@blueprint.post("/process-data/<int:data_id>")
@described(
    "Files",
    path={
        "data_id": {
            "description": "The `data_id` of an import's result.",
            "maximum": LARGEST_ID,
            "examples": [1],
        }
    },
    answers={202: Accepted},
    problems={404: "No dataset has this id; `detail` names the newest."},
)
def queue_processing(data_id: int) -> Response:
    """Queue the processing of a dataset."""
    if request.content_length:
        body.read(Nothing)
    if data_id > LARGEST_ID or not _exists(data_id):
        abort(404, datasets.unknown(data_id))
    result = registry.publish(process_data.s(data_id))
    return answers.accepted("Data processing started", result.id)


def _exists(data_id: int) -> bool:
    try:
        datasets.current(data_id)
    except LookupError:
        return False
    return True
