"""The web side: each request is a span, one log line and one count."""

from __future__ import annotations

import functools
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from flask import request
from flask.signals import (
    got_request_exception,
    request_finished,
    request_started,
    request_tearing_down,
)
from opentelemetry import trace

from . import metrics, names
from .guard import guarded
from .tracing import ids

if TYPE_CHECKING:
    from flask import Flask, Response

KEY = "followthrough.request"
SERVER_ERROR = 500
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}")

logger = structlog.get_logger("followthrough.flask")


@dataclass
class _Request:
    """What is known of a request while it runs."""

    started: float
    method: str
    route: str
    request_id: str
    span: trace.Span
    told: bool = False


def instrument(app: Flask, excluded_urls: str | None = None) -> None:
    """Trace `app` with the stock instrumentor, and log and count its requests."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor  # noqa: PLC0415

    if not getattr(app, "_is_instrumented_by_opentelemetry", False):
        FlaskInstrumentor.instrument_app(app, excluded_urls=excluded_urls)
    connect(app)


def uninstrument(app: Flask) -> None:
    """Undo `instrument`."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor  # noqa: PLC0415

    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        FlaskInstrumentor.uninstrument_app(app)
    disconnect(app)


def connect(app: Flask | None = None) -> None:
    """Listen to the requests of `app`, or of every app of the process."""
    for signal, receiver in _receivers():
        signal.connect(receiver, sender=app, weak=False) if app else signal.connect(
            receiver, weak=False
        )


def disconnect(app: Flask | None = None) -> None:
    """Undo `connect`."""
    for signal, receiver in _receivers():
        signal.disconnect(receiver, sender=app) if app else signal.disconnect(receiver)


def _receivers() -> list[tuple[Any, Any]]:
    return [
        (request_started, _on_started),
        (got_request_exception, _on_exception),
        (request_finished, _on_finished),
        (request_tearing_down, _on_tearing_down),
    ]


@guarded("flask.request_started")
def _on_started(_app: Flask, **_: Any) -> None:
    if KEY in request.environ:
        return
    rule = request.url_rule
    current = _Request(
        started=time.perf_counter(),
        method=request.method,
        route=rule.rule if rule else "",
        request_id=_request_id(request.headers.get("X-Request-ID", "")),
        span=trace.INVALID_SPAN,
    )
    request.environ[KEY] = current
    structlog.contextvars.bind_contextvars(request_id=current.request_id)


def _request_id(given: str) -> str:
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


@guarded("flask.got_request_exception")
def _on_exception(app: Flask, exception: BaseException, **_: Any) -> None:
    propagate = app.config["PROPAGATE_EXCEPTIONS"]
    if propagate or (propagate is None and (app.testing or app.debug)):
        # Flask raises it on to the server: request_finished won't come.
        _tell(request.environ.get(KEY), SERVER_ERROR, type(exception).__name__)


@guarded("flask.request_finished")
def _on_finished(_app: Flask, response: Response, **_: Any) -> None:
    current = request.environ.get(KEY)
    if current is None or current.told:
        return
    if not current.route:
        # Semantic conventions: without a route the method is the name, so that the paths that
        # strangers try don't become operations without end.
        trace.get_current_span().update_name(metrics.labels.method(current.method))
    if response.is_streamed and response.content_length is None:
        # The body is still being made; the span is over by the time it has gone.
        current.span = trace.get_current_span()
        response.call_on_close(functools.partial(_on_close, current, response))
    else:
        _tell(current, response.status_code)


@guarded("flask.close")
def _on_close(current: _Request, response: Response) -> None:
    _tell(current, response.status_code)


@guarded("flask.request_tearing_down")
def _on_tearing_down(_app: Flask, **_: Any) -> None:
    structlog.contextvars.unbind_contextvars("request_id")


def _tell(current: _Request | None, status: int, error_type: str = "") -> None:
    if current is None or current.told:
        return
    current.told = True
    seconds = time.perf_counter() - current.started
    metrics.observe_request(current.method, current.route, status, seconds)
    log = logger.error if status >= SERVER_ERROR else logger.info
    log(
        names.REQUEST_FINISHED,
        method=current.method,
        route=current.route,
        status=status,
        duration=round(seconds, 6),
        request_id=current.request_id,
        **({"error_type": error_type} if error_type else {}),
        **ids.of(current.span),
    )
