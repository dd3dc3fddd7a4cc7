"""Sessions: begun with a subject, then known by their token."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, NoReturn

from flask import Blueprint, Response, abort, jsonify, request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from werkzeug.datastructures import WWWAuthenticate

from app.routes import body
from app.routes.document import described
from app.services import sessions
from app.services.external import unfit

blueprint = Blueprint("sessions", __name__)

HOUR = 60 * 60
DAY = 24 * HOUR
LONGEST_DATA = 4096  # bytes as JSON
MISSING = "Send the token of a session that has not expired: Authorization: Bearer TOKEN."


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("Must be printable, and not blank.")
    return text


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if wrong := unfit(value):
        raise ValueError(wrong)
    if len(json.dumps(value)) > LONGEST_DATA:
        raise ValueError(f"Is longer than {LONGEST_DATA} bytes.")
    return value


class NewSession(body.Body):
    """`lifetime` is in seconds."""

    subject: Annotated[str, Field(max_length=255), AfterValidator(_printable)]
    lifetime: Annotated[int, Field(ge=60, le=30 * DAY)] = DAY
    data: Annotated[dict[str, Any], AfterValidator(_small)] = Field(default_factory=dict)


class Session(BaseModel):
    """Times are UTC."""

    model_config = ConfigDict(extra="forbid")

    subject: str
    data: dict[str, Any]
    created_at: datetime
    expires_at: datetime


class Begun(Session):
    """The token is told this once: the service keeps only its hash."""

    token: str


class Ended(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: Literal["ended"]


@blueprint.post("/sessions")
@described(
    "Sessions",
    request=NewSession,
    answers={201: Begun},
    example={"subject": "ada", "lifetime": HOUR},
)
def begin() -> Response:
    """Begin a session; its token is told this once."""
    wanted = body.read(NewSession)
    lifetime = timedelta(seconds=wanted.lifetime)
    token, session = sessions.create(wanted.subject, lifetime, wanted.data)
    response = jsonify(token=token, **_shown(session))
    response.status_code = 201
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/sessions/current")
@described("Sessions", bearer=True, answers={200: Session}, problems={401: MISSING})
def current() -> dict[str, Any]:
    """Tell of the session whose token is sent as `Authorization: Bearer TOKEN`."""
    session = sessions.find(_token())
    return _shown(session) if session else _refuse()


@blueprint.delete("/sessions/current")
@described("Sessions", bearer=True, answers={200: Ended}, problems={401: MISSING})
def end() -> dict[str, str]:
    """End the session whose token is sent as `Authorization: Bearer TOKEN`."""
    token = _token()
    if sessions.find(token) is None:
        _refuse()
    sessions.end(token)
    return {"status": "ended"}


def _token() -> str:
    # Not in the address, which logs and traces tell.
    given = request.authorization
    if given is None or given.type != "bearer" or not given.token:
        _refuse()
    return given.token


def _refuse() -> NoReturn:
    abort(401, MISSING, www_authenticate=WWWAuthenticate("bearer"))


def _shown(session: sessions.Session) -> dict[str, Any]:
    times = {name: getattr(session, name).isoformat() for name in ("created_at", "expires_at")}
    return {"subject": session.subject, "data": session.data, **times}
