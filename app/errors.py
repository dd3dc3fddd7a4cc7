"""Errors as RFC 9457 problem documents, with the member `error` that older callers read."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Flask, Response, current_app, jsonify, request
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from app.services.breaker import UnreachableError

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

RETRY_AFTER = str(UnreachableError.retry_after)
BAD_REQUEST = 400


class InvalidError(Exception):
    """The request's fields are wrong: pairs of a field's name and what is wrong with it."""

    def __init__(self, fields: list[tuple[str, str]], status: int = BAD_REQUEST) -> None:
        self.fields = fields
        self.status = status
        super().__init__("; ".join(f"{field}: {wrong}" for field, wrong in fields))


def problem(status: int, title: str, detail: str, **members: object) -> Response:
    """An `application/problem+json` response."""
    response = jsonify(
        type="about:blank",
        title=title,
        status=status,
        detail=detail,
        instance=quote(request.path),
        error=detail,
        **members,
    )
    response.status_code = status
    response.mimetype = "application/problem+json"
    return response


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(InvalidError, _invalid)
    app.register_error_handler(UnreachableError, _unreachable)
    for kind in (OperationalError, PoolTimeoutError):
        app.register_error_handler(kind, _database_down)


def _http_error(error: HTTPException) -> AnyResponse:
    if error.code is None or error.code < BAD_REQUEST or error.response is not None:
        return error.get_response()
    response = problem(error.code, error.name, error.description or error.name)
    # Such as Allow and Retry-After.
    kept = [(k, v) for k, v in error.get_headers() if not k.lower().startswith("content-")]
    response.headers.extend(kept)
    return response


def _invalid(error: InvalidError) -> Response:
    fields = [{"field": field, "detail": wrong} for field, wrong in error.fields]
    return problem(error.status, HTTPStatus(error.status).phrase, str(error), errors=fields)


def _unreachable(error: UnreachableError) -> Response:
    return _unavailable(str(error))


def _database_down(error: Exception) -> Response:
    current_app.logger.error("The database does not answer", exc_info=error)
    return _unavailable("The database does not answer.")


def _unavailable(detail: str) -> Response:
    response = problem(503, "Service Unavailable", detail)
    response.headers["Retry-After"] = RETRY_AFTER
    return response
