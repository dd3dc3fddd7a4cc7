"""Errors as RFC 9457 problem documents, with the member `error` that older callers read."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, InternalServerError


def problem(status: int, title: str, detail: str, **members: object) -> Response:
    """An `application/problem+json` response."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "error": detail,
        **members,
    }
    response = jsonify(body)
    response.status_code = status
    response.mimetype = "application/problem+json"
    return response


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _http_error(error: HTTPException) -> Response:
    code = error.code or InternalServerError.code
    return problem(code, error.name, error.description or error.name)


def _unexpected(_error: Exception) -> Response:
    return problem(500, "Internal Server Error", "The server failed; this was logged.")
