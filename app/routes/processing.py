"""Processing imported datasets."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from app import registry
from app.routes import answers, body
from app.services import datasets
from app.tasks.processing import process_data

blueprint = Blueprint("processing", __name__)

LARGEST_ID = 2**31 - 1  # as in the table


class Nothing(body.Body):
    pass


@blueprint.post("/process-data/<int:data_id>")
def queue_processing(data_id: int) -> Response:
    """Queue the processing of a dataset."""
    if request.content_length:
        body.read(Nothing)
    if data_id > LARGEST_ID or not _exists(data_id):
        abort(404, f"No dataset has the id {str(data_id)[:20]}; {_known()}.")
    result = registry.publish(process_data.s(data_id))
    return answers.accepted("Data processing started", result.id)


def _exists(data_id: int) -> bool:
    try:
        datasets.current(data_id)
    except LookupError:
        return False
    return True


def _known() -> str:
    newest = ", ".join(map(str, datasets.newest_ids()))
    return f"the newest are {newest}" if newest else "none is imported yet"
