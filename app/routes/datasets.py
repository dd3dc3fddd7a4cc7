"""What was imported."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, abort, url_for
from pydantic import BaseModel, Field

from app.routes import body
from app.routes.document import described
from app.services import catalog, datasets

blueprint = Blueprint("datasets", __name__)

LARGEST_ID = 2**31 - 1  # as in the table
LARGEST_PAGE = 100
PATH = {"data_id": {"maximum": LARGEST_ID, "examples": [1]}}


class Page(body.Body):
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 20
    before: Annotated[int, Field(ge=1, le=LARGEST_ID)] | None = None


class Summary(BaseModel):
    """An imported file; `rows` are those that could be read."""

    data_id: int
    name: str
    status: str
    columns: list[str]
    rows: int
    bad_rows: int
    created_at: str
    updated_at: str


class Column(BaseModel):
    """What processing found out; `different` is null if the values are too many to count."""

    name: str
    kind: str
    rows: int
    missing: int
    different: int | None
    outliers: int
    statistics: dict[str, Any]


class BadRow(BaseModel):
    line: int
    reason: str


class Details(Summary):
    """`errors` are the first bad rows; `statistics` is empty until the dataset is processed."""

    errors: list[BadRow]
    statistics: list[Column]


class Summaries(BaseModel):
    """The newest first; `next` leads to older ones, if there may be any."""

    datasets: list[Summary]
    next: str | None


@blueprint.get("/datasets")
@described("Files", query=Page, answers={200: Summaries})
def imported() -> dict[str, Any]:
    """List the datasets."""
    page = body.query(Page)
    found = catalog.newest(page.limit, page.before)
    return {"datasets": found, "next": _next(found, page.limit)}


def _next(found: list[dict[str, Any]], limit: int) -> str | None:
    if len(found) < limit:
        return None
    return url_for("datasets.imported", limit=limit, before=found[-1]["data_id"])


@blueprint.get("/datasets/<int:data_id>")
@described("Files", path=PATH, answers={200: Details}, problems={404: "No dataset has this id."})
def dataset(data_id: int) -> dict[str, Any]:
    """Show a dataset, and what processing found."""
    found = catalog.details(data_id) if data_id <= LARGEST_ID else None
    if found is None:
        abort(404, datasets.unknown(data_id))
    return found
