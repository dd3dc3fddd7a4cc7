"""Each request is one line and one count, and a span that both belong to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, abort
from opentelemetry import context, trace
from opentelemetry.instrumentation import propagators
from opentelemetry.instrumentation.flask import flask_version

import followthrough
from followthrough import logs
from followthrough.flask import FlaskInstrumentor
from followthrough.testing import Captured
from tests.support.lines import alone

COUNT = "http_server_request_duration_seconds_count"


@pytest.fixture
def app(told: Captured) -> Iterator[Flask]:
    app = Flask("unit")
    followthrough.instrument_flask(app)

    @app.get("/users/<int:number>")
    def user(number: int) -> str:
        if number == 0:
            raise ValueError("nobody")
        if number == 1:
            abort(409)
        return str(number)

    @app.get("/stream")
    def stream() -> Any:
        return (str(n) for n in range(3))

    yield app
    followthrough.uninstrument_flask(app)


def test_a_request_is_one_line_and_one_count_under_its_route(
    told: Captured, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(propagators, "_RESPONSE_PROPAGATOR", None)
    answer = app.test_client().get("/users/7")
    (line,) = told.events("request.finished")
    span = told.span("GET /users/<int:number>")
    assert (line["method"], line["route"], line["status"], line["level"]) == (
        "GET",
        "/users/<int:number>",
        200,
        "info",
    )
    assert line["span_id"] == trace.format_span_id(span.context.span_id)
    assert answer.status_code == 200
    assert "traceresponse" not in answer.headers
    labels = {"http_route": "/users/<int:number>", "http_response_status_code": "200"}
    assert told.metric(COUNT, **labels) == 1


@pytest.mark.parametrize(("path", "status"), [("/users/1", 409), ("/nowhere", 404)])
def test_a_refused_request_is_no_error(told: Captured, app: Flask, path: str, status: int) -> None:
    assert app.test_client().get(path).status_code == status
    (line,) = told.events("request.finished")
    assert (line["status"], line["level"]) == (status, "info")


def test_a_crash_is_one_line_at_error_and_one_count(told: Captured, app: Flask) -> None:
    assert app.test_client().get("/users/0").status_code == 500
    (line,) = told.events("request.finished")
    assert (line["status"], line["level"]) == (500, "error")
    assert told.metric(COUNT, http_response_status_code="500") == 1


@pytest.mark.parametrize("setting", ["TESTING", "DEBUG", "PROPAGATE_EXCEPTIONS"])
def test_a_crash_that_flask_raises_on_is_one_line(told: Captured, app: Flask, setting: str) -> None:
    app.config[setting] = True
    with pytest.raises(ValueError, match="nobody"):
        app.test_client().get("/users/0")
    (line,) = told.events("request.finished")
    assert (line["status"], line["error_type"]) == (500, "ValueError")
    assert told.metric(COUNT, http_response_status_code="500") == 1


def test_a_streamed_answer_is_told_when_it_has_gone(told: Captured, app: Flask) -> None:
    answer = app.test_client().get("/stream", buffered=False)
    assert told.events("request.finished") == []
    assert answer.get_data() == b"012"
    answer.close()
    (line,) = told.events("request.finished")
    span = told.span("GET /stream")
    assert line["trace_id"] == trace.format_trace_id(span.context.trace_id)


def test_a_request_id_is_taken_over_and_forgotten_after(told: Captured, app: Flask) -> None:
    app.test_client().get("/users/2", headers={"X-Request-ID": "abc-1"})
    app.test_client().get("/users/3", headers={"X-Request-ID": "not valid\t"})
    first, second = told.events("request.finished")
    assert first["request_id"] == "abc-1"
    assert second["request_id"] not in ("abc-1", "not valid\t")
    app.logger.warning("outside")
    assert "request_id" not in told.lines[-1]


def test_instrumenting_twice_tells_once(told: Captured, app: Flask) -> None:
    followthrough.instrument_flask(app)
    FlaskInstrumentor().instrument()
    try:
        app.test_client().get("/users/2")
    finally:
        FlaskInstrumentor().uninstrument()
    assert len(told.events("request.finished")) == 1
    assert len(told.spans) == 1
    assert told.metric(COUNT) == 1


def test_the_line_of_a_usual_request_costs_the_chain_nothing(
    told: Captured, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alone():
        for _ in range(2):
            app.test_client().get("/users/7")
            monkeypatch.setattr(logs, "line", lambda *_, **__: 1 / 0)
    assert len(told.events("request.finished")) == 2


def test_uninstrumented_tells_nothing(told: Captured, app: Flask) -> None:
    followthrough.uninstrument_flask(app)
    app.test_client().get("/users/2")
    followthrough.uninstrument_flask(app)
    assert told.events("request.finished") == []
    assert told.spans == []


def test_another_app_of_the_process_is_not_told(told: Captured, app: Flask) -> None:
    other = Flask("other")
    other.test_client().get("/")
    assert told.events("request.finished") == []


def test_a_view_works_when_telemetry_does_not(
    app: Flask, monkeypatch: pytest.MonkeyPatch, told: Captured
) -> None:
    monkeypatch.setattr("followthrough.guard.strict", False)
    monkeypatch.setattr("followthrough.metrics.ends.Requests.add", lambda *_: 1 / 0)
    assert app.test_client().get("/users/2").status_code == 200
    assert told.metric("telemetry_errors_total", where="flask.end") == 1


def test_a_flask_that_overrides_what_hears_of_a_request_has_routes_too(told: Captured) -> None:
    class Own(Flask):
        def preprocess_request(self) -> None:
            return None

    app = Own("own")
    followthrough.instrument_flask(app)
    app.add_url_rule("/own", "own", lambda: "")
    assert app.test_client().get("/own").status_code == 200
    assert told.events("request.finished")[0]["route"] == "/own"
    assert told.span("GET /own")
    followthrough.uninstrument_flask(app)


def test_what_requests_have_in_common_is_kept_and_the_rest_is_their_own(
    told: Captured, app: Flask
) -> None:
    ask = {"headers": {"User-Agent": "curl/8"}}
    for number in (7, 8):
        caller = {"REMOTE_ADDR": f"10.0.0.{number}", "REMOTE_PORT": str(40000 + number)}
        app.test_client().get(f"/users/{number}?q={number}", environ_base=caller, **ask)
    first, second = (span for span in told.spans if span.name == "GET /users/<int:number>")
    for number, span in ((7, first), (8, second)):
        assert span.attributes["user_agent.original"] == "curl/8"
        assert span.attributes["url.path"] == f"/users/{number}"
        assert span.attributes["url.query"] == f"q={number}"
        assert span.attributes["client.address"] == f"10.0.0.{number}"
        assert span.attributes["client.port"] == 40000 + number
    assert first.attributes["http.request.id"] != second.attributes["http.request.id"]


def test_an_answer_names_its_trace_where_the_host_wants_it(
    told: Captured, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(propagators, "_RESPONSE_PROPAGATOR", propagators.TraceResponsePropagator())
    answer = app.test_client().get("/users/7")
    span = told.span("GET /users/<int:number>")
    ids = trace.format_trace_id(span.context.trace_id), trace.format_span_id(span.context.span_id)
    assert answer.headers["traceresponse"].split("-")[1:3] == [*ids]
    assert answer.headers["Access-Control-Expose-Headers"] == "traceresponse"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ["controller", "framework", "route"]),
        ({"commenter_options": {"framework": True}}, ["controller", "framework", "route"]),
        ({"commenter_options": {"framework": False}}, ["controller", "route"]),
        ({"enable_commenter": False}, []),
    ],
)
def test_comments_of_sql_say_what_the_options_want(
    told: Captured, options: dict[str, Any], said: list[str]
) -> None:
    app, values = Flask("commented"), {"controller": "seen", "route": "/seen/<n>"}
    values["framework"] = f"flask:{flask_version}"
    followthrough.instrument_flask(app, **options)

    @app.get("/seen/<n>")
    def seen(n: str) -> dict[str, str]:
        found: Any = context.get_value("SQLCOMMENTER_ORM_TAGS_AND_VALUES")
        return dict(found)

    assert app.test_client().get("/seen/1").json == {key: values[key] for key in said}
    followthrough.uninstrument_flask(app)
