"""The console's web application: Jaeger's query API and plain pages over one store."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from . import jaeger, queries, show
from .queries import Query
from .store import Store
from .waterfall import lay_out

LOOKBACKS = {
    "15m": "15 minutes",
    "1h": "1 hour",
    "6h": "6 hours",
    "24h": "24 hours",
    "": "any time",
}
LIST_LIMIT = 50
ROW_LIMIT = 1000
POLICY = (
    "default-src 'none'; style-src 'self'; style-src-attr 'unsafe-inline'; script-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_console(store: Store, otlp_port: int) -> Flask:
    """The WSGI application; `otlp_port` takes spans on the same host, for the page that says so."""
    app = Flask(__name__)
    app.register_blueprint(jaeger.blueprint(store))
    app.register_blueprint(_pages(store, otlp_port))
    app.jinja_env.filters.update(
        duration=show.duration, utc=show.utc, local=show.local, as_text=queries.as_text
    )
    app.after_request(_secured)
    app.register_error_handler(HTTPException, lambda e: _message(e.code or 500, str(e.description)))
    app.register_error_handler(
        sqlite3.Error, lambda e: _message(503, f"The trace store can't be read just now: {e}.")
    )
    return app


def _secured(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _message(status: int, text: str) -> AnyResponse:
    if request.path.startswith("/api/"):
        return jaeger.failure(status, text)
    page = render_template("message.html", title=HTTP_TITLES.get(status, "Error"), text=text)
    return Response(page, status)


HTTP_TITLES = {
    400: "That can't be read",
    404: "Not found",
    405: "Not allowed",
    503: "Not available",
}


def _pages(store: Store, otlp_port: int) -> Blueprint:
    pages = Blueprint("pages", __name__)

    @pages.get("/")
    @pages.get("/search")
    def traces() -> str:
        return _list_page(store, _endpoint(otlp_port), request.args)

    @pages.get("/trace/<identity>")
    def trace(identity: str) -> AnyResponse:
        return _trace_page(store, identity)

    @pages.get("/trace")
    def find() -> AnyResponse:
        return redirect(url_for("pages.trace", identity=_pasted(request.args.get("id", ""))))

    return pages


def _endpoint(port: int) -> str:
    # The name that the reader reached us by; the address we listen on may be 0.0.0.0.
    host = urlsplit(request.host_url).hostname or "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _pasted(text: str) -> str:
    # People paste a traceparent or traceresponse header as well as a trace id.
    header = re.fullmatch("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-.*", text.strip().lower())
    return header[1] if header else text.strip() or "-"


def _list_page(store: Store, endpoint: str, args: Mapping[str, str]) -> str:
    now = time.time_ns()
    query, problem = _query(args, now)
    found = [] if problem else queries.find(store, query)
    names = queries.services(store)
    return render_template(
        "traces.html",
        traces=found,
        longest=max((one.duration for one in found), default=0) or 1,
        services=names,
        operations=_operations(store, [query.service] if query.service else names),
        colours=show.colours(names),
        args=args,
        lookbacks=LOOKBACKS,
        filtered=any(args.get(name) for name in FILTERS),
        problem=problem,
        limit=LIST_LIMIT,
        endpoint=endpoint,
        ago=lambda moment: show.ago(moment, now),
    )


FILTERS = ("service", "operation", "lookback", "minDuration", "attribute", "errors")


def _operations(store: Store, services: list[str]) -> list[str]:
    return sorted({name for service in services for name, _ in queries.operations(store, service)})


def _query(args: Mapping[str, str], now: int) -> tuple[Query, str]:
    try:
        back = jaeger.duration(args["lookback"]) if args.get("lookback") else now
        shortest = jaeger.duration(args["minDuration"]) if args.get("minDuration") else 0
        tags = _attributes(args.get("attribute", ""))
    except ValueError as error:
        return Query(service=args.get("service", "")), str(error)
    return Query(
        service=args.get("service", ""),
        operation=args.get("operation", ""),
        start=max(0, now - back),
        min_duration=shortest,
        errors=bool(args.get("errors")),
        tags=tags,
        limit=LIST_LIMIT,
    ), ""


def _attributes(text: str) -> dict[str, str]:
    if not text.strip():
        return {}
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise ValueError(f"{text!r} is not an attribute such as http.route=/api/send-email")
    return {key.strip(): value.strip()}


def _trace_page(store: Store, identity: str) -> AnyResponse:
    try:
        trace_id = jaeger.trace_id(identity)
    except jaeger.ApiError as error:
        return _message(400, f"{error.message[0].upper()}{error.message[1:]}.")
    if not (spans := queries.trace(store, trace_id)):
        return Response(render_template("missing.html", trace_id=trace_id), 404)
    return Response(render_template("trace.html", **_trace_values(store, trace_id, spans)))


def _trace_values(store: Store, trace_id: str, spans: list[Any]) -> dict[str, Any]:
    waterfall = lay_out(spans)
    return {
        "trace_id": trace_id,
        "waterfall": waterfall,
        "rows": waterfall.rows[:ROW_LIMIT],
        "left_out": max(0, len(waterfall.rows) - ROW_LIMIT),
        "depth": 1 + max(row.depth for row in waterfall.rows),
        "colours": show.colours({*queries.services(store), *waterfall.services}),
    }
