"""Sources, their records, and the runs that bring them in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from celery import Signature, chain, chord, group
from flask import Blueprint, Response, abort, request
from pydantic import AfterValidator, BaseModel, Field

from app import registry
from app.errors import problem
from app.routes import answers, body
from app.routes.document import Accepted, described
from app.services import addresses
from app.services.etl import fetching, records, runs, sources
from app.services.etl.sources import Source
from app.tasks.etl import aggregate_results, fetch_data, save_data, transform_data, validate_data

blueprint = Blueprint("etl", __name__)

LARGEST_ID = 2**31 - 1  # as in the table
MOST_SOURCES = 100
MOST_RECORDS = 1000
LONGEST_KEY = 255  # characters, as in the table

UNKNOWN = "No source that is enabled has this id; `detail` names those that are."
PATH = {"source_id": {"description": "A source's id.", "maximum": LARGEST_ID, "examples": [1]}}


def _distinct(ids: list[int]) -> list[int]:
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise ValueError(f"Names {', '.join(map(str, twice))} more than once.")
    return ids


SourceId = Annotated[int, Field(ge=1, le=LARGEST_ID)]


class Nothing(body.Body):
    pass


class Several(body.Body):
    """Which sources to run, each once."""

    source_ids: Annotated[
        list[SourceId],
        Field(min_length=1, max_length=MOST_SOURCES, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ]


class Page(body.Body):
    """Records after the one with the key `after`; the first ones without it."""

    after: Annotated[body.Text, Field(max_length=LONGEST_KEY, pattern=r"^[^\x00]*$")] = ""
    limit: Annotated[int, Field(ge=1, le=MOST_RECORDS)] = 100


class RunShown(BaseModel):
    """A run: how far it came, and what it counted."""

    run: str
    status: str
    records: int
    valid_records: int
    saved_records: int
    errors: list[dict[str, Any]]
    error: str | None
    started_at: datetime
    updated_at: datetime


class SourceShown(BaseModel):
    """A source, how many records it has, and its last run."""

    id: int
    name: str
    kind: str
    location: str
    enabled: bool
    records: int
    last_run: RunShown | None


class Sources(BaseModel):
    sources: list[SourceShown]


class Record(BaseModel):
    key: str
    data: dict[str, Any]
    run: str
    updated_at: datetime


class Records(BaseModel):
    """Records by key; `next` is the `after` of the next page, null on the last."""

    source_id: int
    records: list[Record]
    next: str | None


class Orders(BaseModel):
    orders: list[dict[str, Any]]


@blueprint.post("/etl/single/<int:source_id>")
@described("ETL", path=PATH, answers={202: Accepted}, problems={404: UNKNOWN})
def queue_source(source_id: int) -> Response:
    """Fetch, validate, transform and save one source."""
    if request.content_length:
        body.read(Nothing)
    known = sources.enabled()
    if source_id not in _ids(known):
        abort(404, _unknown([source_id], known))
    result = registry.publish(_pipeline(source_id))
    return answers.accepted("ETL pipeline started", result.id)


@blueprint.post("/etl/parallel")
@described(
    "ETL",
    request=Several,
    answers={202: Accepted},
    problems={422: UNKNOWN},
    example={"source_ids": [1, 2, 3]},
)
def queue_sources() -> Response:
    """Take several sources through all steps side by side, and sum up what they saved."""
    wanted = body.read(Several).source_ids
    if refusal := _refusal(wanted):
        return refusal
    result = registry.publish(chord(map(_pipeline, wanted), aggregate_results.s()))
    return answers.accepted(f"Parallel ETL started for {len(wanted)} sources", result.id)


@blueprint.post("/etl/group")
@described(
    "ETL",
    request=Several,
    answers={202: Accepted},
    problems={422: UNKNOWN},
    example={"source_ids": [1, 2, 3]},
)
def queue_fetches() -> Response:
    """Fetch several sources side by side, each with a result of its own."""
    wanted = body.read(Several).source_ids
    if refusal := _refusal(wanted):
        return refusal
    result = registry.publish(group(fetch_data.s(each) for each in wanted))
    return answers.accepted(f"ETL group started for {len(wanted)} sources", result.id)


@blueprint.get("/sources")
@described("ETL", answers={200: Sources})
def listed() -> dict[str, Any]:
    """All sources, each with its last run."""
    counts, last = records.counts(), runs.last()
    return {
        "sources": [_shown(each, counts.get(each.id, 0), last.get(each.id)) for each in _every()]
    }


@blueprint.get("/sources/<int:source_id>/records")
@described(
    "ETL",
    path=PATH,
    query=Page,
    answers={200: Records},
    problems={400: "A parameter is wrong.", 404: "No source has this id."},
)
def saved(source_id: int) -> dict[str, Any]:
    """The records of a source, by their key."""
    page, known = body.query(Page), _every()
    if source_id not in _ids(known):
        abort(404, _unknown([source_id], known))
    # One more tells whether there is a next page.
    found = records.page(source_id, page.after, page.limit + 1)
    shown = [_record(*each) for each in found[: page.limit]]
    following = shown[-1]["key"] if len(found) > page.limit else None
    return {"source_id": source_id, "records": shown, "next": following}


@blueprint.get("/samples/orders")
@described("ETL", answers={200: Orders}, alone=True)
def sample_orders() -> Response:
    """Orders that ship with the service, for the third sample source."""
    content = (fetching.SAMPLES_DIR / "orders.json").read_bytes()
    return Response(content, mimetype="application/json")


def _pipeline(source_id: int) -> Signature:
    return chain(fetch_data.s(source_id), validate_data.s(), transform_data.s(), save_data.s())


def _every() -> list[Source]:
    return sources.every()


def _ids(known: Iterable[Source]) -> list[int]:
    return [source.id for source in known]


def _refusal(wanted: list[int]) -> Response | None:
    known = sources.enabled()
    strange = [each for each in wanted if each not in _ids(known)]
    if not strange:
        return None
    wrong = _unknown(strange, known)
    errors = [{"field": "source_ids", "detail": wrong}]
    return problem(422, "Unprocessable Content", f"source_ids: {wrong}", errors=errors)


def _unknown(strange: list[int], known: list[Source]) -> str:
    named = ", ".join(str(each)[:20] for each in strange)
    valid = ", ".join(map(str, _ids(known))) or "none"
    return f"No source has the id {named}; the ids are: {valid}."


def _shown(source: Source, count: int, run: runs.Run | None) -> dict[str, Any]:
    return {
        "id": source.id,
        "name": source.name,
        "kind": source.kind,
        "location": _bare(source.location),
        "enabled": source.enabled,
        "records": count,
        "last_run": _run(run) if run else None,
    }


def _bare(location: str) -> str:
    # A query or a password in an address is not for every caller.
    try:
        return addresses.bare(addresses.parsed(location))
    except ValueError:
        return location.partition("?")[0]


def _run(run: runs.Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "status": run.status,
        "records": run.records,
        "valid_records": run.valid_records,
        "saved_records": run.saved_records,
        "errors": run.errors,
        "error": run.error,
        "started_at": run.started_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
    }


def _record(key: str, data: Any, run: str, updated_at: datetime) -> dict[str, Any]:
    return {"key": key, "data": data, "run": run, "updated_at": _utc(updated_at).isoformat()}


def _utc(moment: datetime) -> datetime:
    # SQLite forgets the time zone; the tables are in UTC.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
