"""Beside the stock instrumentor: the same spans and attributes, up to docs/renames.md."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from opentelemetry.instrumentation._semconv import _OpenTelemetrySemanticConventionStability
from opentelemetry.instrumentation.flask import FlaskInstrumentor as Stock
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from followthrough.flask import FlaskInstrumentor, hook
from followthrough.testing import Captured
from tests.support import HOME

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
SCENARIO: list[tuple[str, dict[str, Any]]] = [
    ("/users/7", {}),
    ("/users/7?a=1", {"method": "POST"}),
    ("/users/7", {"method": "HEAD"}),
    ("/users/7", {"method": "OPTIONS"}),
    ("/users/7", {"method": "BREW"}),
    ("/users/7", {"headers": {"User-Agent": "Googlebot/2", "traceparent": PARENT}}),
    ("/users/7", {"base_url": "https://shop.test:8443"}),
    ("/users/7", {"environ_base": {"REMOTE_ADDR": "9.9.9.9", "REMOTE_PORT": "4711"}}),
    ("/users/7", {"headers": {"X-Shown": "a", "X-Token": "b"}}),
    ("/nowhere", {}),
    ("/crash", {}),
    ("/status/409", {}),
    ("/status/503", {}),
    ("/stream", {"buffered": True}),
]


def made() -> Flask:
    app = Flask("both")
    app.add_url_rule("/users/<int:n>", view_func=lambda n: f"{n}", endpoint="user")
    app.add_url_rule("/status/<int:n>", view_func=lambda n: ("", n), endpoint="status")
    app.add_url_rule("/crash", view_func=lambda: 1 / 0, endpoint="crash")
    app.add_url_rule("/stream", view_func=lambda: (c for c in "abc"), endpoint="stream")
    return app


def spans(instrument: Any, which: tuple[str, dict[str, Any]]) -> list[ReadableSpan]:
    path, options = which
    app, exporter, provider = made(), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument.instrument_app(app, tracer_provider=provider)
    app.test_client().open(path, **options)
    instrument.uninstrument_app(app)
    return list(exporter.get_finished_spans())


def rows() -> list[tuple[list[str], list[str]]]:
    """The table: names of the stock's attributes, and of ours."""
    text = (HOME / "docs" / "renames.md").read_text().partition("## Requests")[2]
    text = text.partition("\n## ")[0]
    cells = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    return [(re.findall("`(.+?)`", stock), re.findall("`(.+?)`", ours)) for stock, ours in cells]


@pytest.fixture(params=["", "http", "http/dup"])
def names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which names the stock instrumentor uses: the old ones, the stable ones, or both."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", request.param)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "x-.*")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE", "content-.*")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS", ".*token.*")
    monkeypatch.setattr(_OpenTelemetrySemanticConventionStability, "_initialized", False)
    yield request.param
    _OpenTelemetrySemanticConventionStability._initialized = False


@pytest.mark.parametrize("which", SCENARIO, ids=lambda each: f"{each[0]} {[*each[1]]}")
def test_each_span_and_attribute_of_the_stock_has_its_counterpart(
    told: Captured, names: str, which: tuple[str, dict[str, Any]]
):
    (stock,), (ours,) = spans(Stock, which), spans(FlaskInstrumentor, which)
    differs = {stock[0] for stock, ours in rows() if stock == ours}
    renamed = {old: ours for stock, ours in rows() if stock != ours for old in stock}
    assert ours.kind is stock.kind
    assert (ours.parent is None) == (stock.parent is None)
    assert ours.status.status_code is stock.status.status_code
    assert [event.name for event in ours.events] == [event.name for event in stock.events]
    if "http.route" in stock.attributes:
        assert ours.name == stock.name
    for key, value in stock.attributes.items():
        found = [ours.attributes.get(name) for name in renamed.get(key, [key])]
        assert any(each is not None for each in found), key
        if key not in renamed and key not in differs:
            assert found == [value], key


def test_the_stock_s_class_is_ours_while_ours_instruments(told: Captured):
    FlaskInstrumentor().instrument()
    try:
        app = made()
        Stock().instrument()
        Stock.instrument_app(app)
        assert isinstance(Stock(), FlaskInstrumentor)
        assert app.test_client().get("/users/7").data == b"7"
    finally:
        FlaskInstrumentor().uninstrument()
    assert (len(told.spans), len(told.events("request.finished"))) == (1, 1)
    warned = [line["event"] for line in told.lines if line["level"] == "warning"]
    assert len(warned) == 2
    assert not isinstance(Stock(), FlaskInstrumentor)
    app.test_client().get("/users/7")
    assert len(told.spans) == 1


def test_ours_steps_in_where_the_stock_was_first(told: Captured):
    Stock().instrument()
    import flask

    early = flask.Flask("early")
    early.add_url_rule("/early", view_func=lambda: "early")
    FlaskInstrumentor().instrument()
    try:
        assert flask.Flask is Flask
        assert early.test_client().get("/early").data == b"early"
        assert early.test_client().get("/early").data == b"early"
    finally:
        FlaskInstrumentor().uninstrument()
    assert [span.name for span in told.spans] == ["GET /early"] * 2
    assert {span.instrumentation_scope.name for span in told.spans} == {"followthrough.flask"}


def test_apps_of_every_make_are_seen(told: Captured, monkeypatch: pytest.MonkeyPatch):
    # Apps that other tests have made, and nobody has collected yet, would keep the hook.
    monkeypatch.setattr(hook._Hooked, "apps", weakref.WeakSet())

    class Derived(Flask):
        pass

    early = Derived("early")
    early.add_url_rule("/early", view_func=lambda: "early")
    FlaskInstrumentor().instrument()
    try:
        late = Derived("late")
        late.add_url_rule("/late", view_func=lambda: "late")
        early.test_client().get("/early")
        late.test_client().get("/late")
        FlaskInstrumentor().uninstrument_app(late)
        late.test_client().get("/late")
    finally:
        FlaskInstrumentor().uninstrument()
    assert [span.name for span in told.spans] == ["GET /early", "GET /late"]
    early.test_client().get("/early")
    assert len(told.spans) == 2
    assert "__call__" in vars(Flask)
    assert Flask.__call__.__module__ == "flask.app"


def test_one_app_s_instrumentor_leaves_others_alone(told: Captured):
    one, other = made(), made()
    FlaskInstrumentor.instrument_app(one)
    FlaskInstrumentor.instrument_app(one)
    other.test_client().get("/users/7")
    assert told.spans == []
    one.test_client().get("/users/7")
    FlaskInstrumentor.uninstrument_app(one)
    FlaskInstrumentor.uninstrument_app(one)
    one.test_client().get("/users/7")
    assert len(told.spans) == 1
    warned = [line["event"] for line in told.lines if line["level"] == "warning"]
    assert len(warned) == 2


def test_nothing_is_told_under_suppress_instrumentation(told: Captured):
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    app = made()
    FlaskInstrumentor.instrument_app(app)
    with suppress_instrumentation():
        app.test_client().get("/users/7")
    assert (told.spans, told.events("request.finished")) == ([], [])
    FlaskInstrumentor.uninstrument_app(app)


def test_headers_are_kept_as_the_options_say(told: Captured):
    app = made()
    kept = {
        "http_capture_headers_server_request": ["x-.*"],
        "http_capture_headers_server_response": ["content-type"],
        "http_capture_headers_sanitize_fields": [".*token"],
    }
    FlaskInstrumentor.instrument_app(app, **kept)
    app.test_client().get("/users/7", headers={"X-Shown": "a", "X-Token": "b"})
    attributes = told.span("GET /users/<int:n>").attributes
    assert attributes["http.request.header.x_shown"] == ("a",)
    assert attributes["http.request.header.x_token"] == ("[REDACTED]",)
    assert attributes["http.response.header.content_type"] == ("text/html; charset=utf-8",)
    FlaskInstrumentor.uninstrument_app(app)


def test_what_had_replaced_an_app_s_call_is_still_called(
    told: Captured, monkeypatch: pytest.MonkeyPatch
):
    seen: list[str] = []

    def call(app: Flask, environ: Any, start_response: Any) -> Any:
        seen.append(environ["PATH_INFO"])
        return app.wsgi_app(environ, start_response)

    assert hook._is_bare
    monkeypatch.setattr(hook, "_flask_call", call)
    monkeypatch.setattr(hook, "_is_bare", False)
    app = made()
    FlaskInstrumentor.instrument_app(app)
    assert app.test_client().get("/users/7").data == b"7"
    FlaskInstrumentor.uninstrument_app(app)
    assert (seen, len(told.spans)) == (["/users/7"], 1)
