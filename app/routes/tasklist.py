"""A caller's recent tasks."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from flask import Blueprint, request, url_for
from pydantic import AfterValidator, BaseModel, Field

from app import registry
from app.errors import InvalidError
from app.registry import Place, Sent
from app.routes import body, taskstatus
from app.routes.document import described
from app.services import taskstates

blueprint = Blueprint("tasklist", __name__)

LARGEST_PAGE = 100
LOOKED_THROUGH = 1000  # submissions in one request, when they are chosen by state
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _states(text: str) -> str:
    if unknown := [each for each in text.split(",") if each not in taskstatus.STATUS]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(taskstatus.STATUS)}.")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("Has characters that can't be printed.")
    return text


def _cursor(text: str) -> str:
    _place(text)
    return text


def _place(text: str) -> Place:
    # No longer number than a year of four digits needs.
    found = re.fullmatch(r"([0-9]{1,17})-([!-~]+)", text)
    if not found:
        raise ValueError("Is no cursor; take it from the `next` of an answer.")
    return Place(EPOCH + timedelta(microseconds=int(found[1])), found[2])


class Page(body.Body):
    """Several states are told with commas; `cursor` is for the answer's `next`."""

    state: Annotated[str, AfterValidator(_states)] | None = None
    name: Annotated[str, Field(max_length=255), AfterValidator(_printable)] | None = None
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 20
    cursor: Annotated[str, Field(max_length=300), AfterValidator(_cursor)] | None = None


class Line(BaseModel):
    task_id: str
    name: str
    state: str
    created_at: str
    status_url: str


class Tasks(BaseModel):
    """`next` is where the older ones are."""

    tasks: list[Line]
    next: str | None


@blueprint.before_app_request
def _check_caller() -> None:
    caller = request.headers.get("X-Caller", "")
    if len(caller) > registry.LONGEST_CALLER or not caller.isprintable():
        longest = registry.LONGEST_CALLER
        raise InvalidError([("X-Caller", f"Is not at most {longest} printable characters.")])


@blueprint.get("/tasks")
@described("Tasks", query=Page, answers={200: Tasks})
def recent() -> dict[str, Any]:
    """List what the caller sent, the newest first."""
    page = body.query(Page)
    wanted = set(page.state.split(",")) if page.state else None
    place = _place(page.cursor) if page.cursor else None
    lines: list[dict[str, Any]] = []
    seen = 0
    while len(lines) < page.limit and seen < LOOKED_THROUGH:
        sent = registry.sent(registry.caller(), page.name, place, LARGEST_PAGE)
        for each, line in zip(sent, _lines(sent), strict=True):
            if len(lines) == page.limit:
                return _page(lines, place)
            place = each.place
            lines += [line] if wanted is None or line["state"] in wanted else []
        seen += len(sent)
        if len(sent) < LARGEST_PAGE:
            return _page(lines, None)
    return _page(lines, place)


def _lines(sent: list[Sent]) -> list[dict[str, Any]]:
    metas = taskstates.read([part.id for each in sent for part in each.known.parts])
    return [
        {
            "task_id": each.known.id,
            "name": each.name,
            "state": taskstatus.state(each.known, metas),
            "created_at": each.place.created_at.isoformat(),
            "status_url": url_for("tasks.status", task_id=each.known.id),
        }
        for each in sent
    ]


def _page(lines: list[dict[str, Any]], place: Place | None) -> dict[str, Any]:
    return {"tasks": lines, "next": _next(place) if place else None}


def _next(place: Place) -> str:
    microseconds = (place.created_at - EPOCH) // timedelta(microseconds=1)
    given: dict[str, Any] = {**request.args, "cursor": f"{microseconds}-{place.id}"}
    return url_for("tasklist.recent", **given)
