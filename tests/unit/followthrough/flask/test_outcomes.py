"""However a request ends: one span, one line and one count that say the same."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import flask
import pytest
from flask import Flask, Response, abort
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind, StatusCode
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client, EnvironBuilder

import followthrough
from followthrough.testing import Captured

COUNT = "http_server_request_duration_seconds_count"


def made(name: str = "unit", **options: Any) -> Flask:
    app = Flask(name)
    followthrough.instrument_flask(app, **options)

    @app.get("/users/<int:number>")
    def user(number: int) -> str:
        logging.getLogger("shop").warning("seen")
        return str(number)

    @app.get("/crash")
    def crash() -> str:
        raise ValueError("nobody: password=hush")

    @app.get("/status/<int:code>")
    def status(code: int) -> Any:
        return "", code

    @app.get("/stream")
    def stream() -> Any:
        def chunks() -> Iterator[str]:
            yield "0"
            logging.getLogger("shop").warning("streaming")
            yield "1"

        return chunks()

    @app.get("/broken")
    def broken() -> Any:
        def chunks() -> Iterator[str]:
            yield "0"
            raise KeyError("half way")

        return chunks()

    return app


@pytest.fixture
def app(told: Captured) -> Iterator[Flask]:
    app = made()
    yield app
    followthrough.uninstrument_flask(app)


def ended(told: Captured, name: str) -> tuple[Any, dict[str, Any]]:
    """The only span and the only line of all, which belong together, and are counted once."""
    (span,) = told.spans
    (line,) = told.events("request.finished")
    assert span.name == name
    assert span.kind is SpanKind.SERVER
    assert line["span_id"] == trace.format_span_id(span.context.span_id)
    assert line["trace_id"] == trace.format_trace_id(span.context.trace_id)
    assert line["request_id"] == span.attributes["http.request.id"]
    status, error = line["status"], line.get("error_type", "")
    assert span.attributes.get("http.response.status_code") == status
    assert span.attributes.get("error.type", "") == error
    assert span.attributes.get("http.route", "") == line["route"]
    labels = {"http_route": line["route"], "error_type": error}
    labels["http_response_status_code"] = str(status or "")
    assert told.metric(COUNT, **labels) == told.metric(COUNT) == 1
    return span, line


def test_success(told: Captured, app: Flask):
    app.test_client().get("/users/7?plan=a&token=hush", headers={"User-Agent": "Googlebot/2"})
    span, line = ended(told, "GET /users/<int:number>")
    assert (line["outcome"], line["level"]) == ("success", "info")
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "server.address": "localhost",
        "server.port": 80,
        "client.address": "127.0.0.1",
        "url.path": "/users/7",
        "url.query": "plan=a&token=********",
        "user_agent.original": "Googlebot/2",
        "user_agent.synthetic.type": "bot",
        "network.protocol.version": "1.1",
        "http.request.id": line["request_id"],
        "http.route": "/users/<int:number>",
        "http.response.status_code": 200,
    }


def test_each_line_within_the_request_has_its_ids(told: Captured, app: Flask):
    app.test_client().get("/users/7", headers={"X-Request-ID": "mine"})
    _, line = ended(told, "GET /users/<int:number>")
    (seen,) = told.events("seen")
    keys = ("trace_id", "span_id", "request_id")
    assert [seen[key] for key in keys] == [line[key] for key in keys]
    assert seen["request_id"] == "mine"


@pytest.mark.parametrize("code", [400, 404, 409, 499])
def test_what_the_caller_did_wrong_is_no_error(told: Captured, app: Flask, code: int):
    app.test_client().get(f"/status/{code}")
    span, line = ended(told, "GET /status/<int:code>")
    assert (line["outcome"], line["level"], line["status"]) == ("refused", "info", code)
    assert span.status.status_code is StatusCode.UNSET


def test_a_status_of_5xx_is_a_failure(told: Captured, app: Flask):
    app.test_client().get("/status/503")
    span, line = ended(told, "GET /status/<int:code>")
    assert (line["outcome"], line["level"], line["error_type"]) == ("failure", "error", "503")
    assert span.status.status_code is StatusCode.ERROR


def test_an_exception_that_flask_answers_names_its_class(told: Captured, app: Flask):
    assert app.test_client().get("/crash").status_code == 500
    span, line = ended(told, "GET /crash")
    assert (line["outcome"], line["error_type"], line["status"]) == ("failure", "ValueError", 500)
    assert span.status.status_code is StatusCode.ERROR
    (event,) = span.events
    assert event.attributes["exception.type"] == "ValueError"
    assert "hush" not in f"{span.status.description} {line['error']} {event.attributes}"


@pytest.mark.parametrize("setting", ["TESTING", "DEBUG", "PROPAGATE_EXCEPTIONS"])
def test_an_exception_that_goes_on_to_the_server(told: Captured, app: Flask, setting: str):
    app.config[setting] = True
    with pytest.raises(ValueError, match="nobody"):
        app.test_client().get("/crash")
    span, line = ended(told, "GET /crash")
    assert (line["outcome"], line["status"], line["error_type"]) == ("failure", 500, "ValueError")
    assert span.status.status_code is StatusCode.ERROR
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_exception_that_the_app_handles_is_its_answer(told: Captured, app: Flask):
    app.register_error_handler(ValueError, lambda _: ("sorry", 409))
    app.test_client().get("/crash")
    _, line = ended(told, "GET /crash")
    assert (line["outcome"], line["status"]) == ("refused", 409)


def test_a_stream_ends_with_its_last_chunk(told: Captured, app: Flask):
    answer = app.test_client().get("/stream", buffered=False)
    assert (told.spans, told.events("request.finished")) == ([], [])
    assert answer.get_data() == b"01"
    span, line = ended(told, "GET /stream")
    assert line["outcome"] == "success"
    (seen,) = told.events("streaming")
    assert seen["span_id"] == trace.format_span_id(span.context.span_id)
    assert seen["request_id"] == line["request_id"]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_stream_that_fails_half_way(told: Captured, app: Flask):
    answer = app.test_client().get("/broken", buffered=False)
    with pytest.raises(KeyError, match="half way"):
        answer.get_data()
    span, line = ended(told, "GET /broken")
    assert (line["outcome"], line["status"], line["error_type"]) == ("failure", 200, "KeyError")
    assert span.status.status_code is StatusCode.ERROR


def test_a_caller_that_goes_away_before_the_end(told: Captured, app: Flask):
    app.test_client().get("/stream", buffered=False).close()
    span, line = ended(told, "GET /stream")
    assert (line["outcome"], line["level"]) == ("disconnected", "info")
    assert (line["status"], line["error_type"]) == (200, "ClientDisconnected")
    assert span.status.status_code is StatusCode.UNSET


def test_a_stream_within_flask_s_context(told: Captured, app: Flask):
    @app.get("/with-context")
    def with_context() -> Any:
        return Response(flask.stream_with_context(flask.request.path[n] for n in range(3)))

    assert app.test_client().get("/with-context").data == b"/wi"
    assert ended(told, "GET /with-context")[1]["outcome"] == "success"


def test_a_file_is_sent_by_the_server_s_own_wrapper(told: Captured, app: Flask):
    class Wrapper:
        def __init__(self, file: Any, _size: int = 8192) -> None:
            self.file = file

        def close(self) -> None:
            self.file.close()

    @app.get("/file")
    def file() -> Any:
        return flask.send_file(io.BytesIO(b"content"), download_name="a.txt")

    environ = EnvironBuilder("/file").get_environ() | {"wsgi.file_wrapper": Wrapper}
    body = app(environ, lambda *_: None)
    assert isinstance(body, Wrapper)
    assert told.spans == []
    body.close()
    assert body.file.closed
    assert ended(told, "GET /file")[1]["outcome"] == "success"


def test_a_file_without_such_a_wrapper(told: Captured, app: Flask):
    @app.get("/file")
    def file() -> Any:
        return flask.send_file(io.BytesIO(b"content"), download_name="a.txt")

    assert app.test_client().get("/file").data == b"content"
    assert ended(told, "GET /file")[1]["outcome"] == "success"


def test_an_abort_before_the_view(told: Captured, app: Flask):
    app.before_request(lambda: abort(401))
    app.test_client().get("/users/7")
    _, line = ended(told, "GET /users/<int:number>")
    assert (line["outcome"], line["status"]) == ("refused", 401)


@pytest.mark.parametrize(
    ("path", "method", "name", "status"),
    [
        ("/nowhere", "GET", "GET", 404),
        ("/users/7", "POST", "POST", 405),
        ("/users/7", "BREW", "HTTP", 405),
        ("/nowhere", "get", "GET", 404),
    ],
)
def test_without_a_route_the_method_is_the_name(
    told: Captured, app: Flask, path: str, method: str, name: str, status: int
):
    app.test_client().open(path, method=method)
    span, line = ended(told, name)
    assert (line["status"], line["route"]) == (status, "")
    assert span.attributes["http.request.method"] == {"HTTP": "_OTHER"}.get(name, name)
    original = span.attributes.get("http.request.method_original")
    assert original == (method if method in ("BREW", "get") else None)


@pytest.mark.parametrize(("method", "body"), [("HEAD", b""), ("OPTIONS", b"")])
def test_methods_without_a_body(told: Captured, app: Flask, method: str, body: bytes):
    answer = app.test_client().open("/users/7", method=method)
    assert ended(told, f"{method} /users/<int:number>")[1]["outcome"] == "success"
    assert answer.data == body


def test_a_websocket_s_upgrade_is_refused(told: Captured, app: Flask):
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert app.test_client().get("/users/7", headers=headers).status_code == 400
    assert ended(told, "GET")[1]["outcome"] == "refused"


@pytest.mark.parametrize("mount", ["around", "within"])
def test_an_app_within_an_app_is_one_request_with_its_own_route(told: Captured, mount: str):
    outer, inner = made("outer"), made("inner")
    if mount == "around":
        served: Any = DispatcherMiddleware(outer, {"/inner": inner})
    else:
        outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/inner": inner})  # type: ignore[method-assign]
        served = outer
    assert Client(served).get("/inner/users/3").data == b"3"
    span, _ = ended(told, "GET /users/<int:number>")
    assert span.attributes["url.path"] == "/inner/users/3"


def test_an_environ_that_is_used_again_is_another_request(told: Captured, app: Flask):
    environ = EnvironBuilder("/users/7").get_environ()
    for _ in range(2):
        assert b"".join(app(environ, lambda *_: None)) == b"7"
    assert [span.name for span in told.spans] == ["GET /users/<int:number>"] * 2


def test_a_view_may_answer_by_another_app(told: Captured, app: Flask):
    inner = made("inner")
    app.add_url_rule("/crash/<int:n>", view_func=lambda **_: inner, endpoint="inner")
    app.test_client().get("/crash/3")
    assert ended(told, "GET /crash/<int:n>")[1]["status"] == 404


def test_behind_a_proxy_the_client_is_the_caller(told: Captured, app: Flask):
    app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1, x_proto=1)  # type: ignore[method-assign]
    app.test_client().get(
        "/users/7",
        headers={
            "X-Forwarded-For": "9.9.9.9",
            "X-Forwarded-Host": "shop.test:8443",
            "X-Forwarded-Proto": "https",
        },
    )
    span, _ = ended(told, "GET /users/<int:number>")
    keys = ("client.address", "network.peer.address", "server.address", "server.port", "url.scheme")
    found = [span.attributes[key] for key in keys]
    assert found == ["9.9.9.9", "127.0.0.1", "shop.test", 8443, "https"]


def test_a_middleware_that_fails_before_the_app(told: Captured, app: Flask):
    def fail(*_: Any) -> Any:
        raise ConnectionError("no store")

    app.wsgi_app = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        app.test_client().get("/users/7")
    assert ended(told, "GET")[1]["error_type"] == "ConnectionError"


@pytest.mark.parametrize("env", ["OTEL_PYTHON_FLASK_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS"])
def test_an_excluded_url_is_not_told(told: Captured, monkeypatch: pytest.MonkeyPatch, env: str):
    monkeypatch.setenv(env, "users/8,/crash$")
    client = made().test_client()
    assert client.get("/users/8").status_code == 200
    assert client.get("/crash").status_code == 500
    client.get("/users/9")
    ended(told, "GET /users/<int:number>")


@pytest.mark.parametrize("host", ["shop.test:80:80", "[::1]:8000", "x" * 5000, "", ":", "é"])
def test_no_host_header_fails_a_request(told: Captured, app: Flask, host: str):
    builder = EnvironBuilder("/users/7").get_environ()
    builder["HTTP_HOST"] = host
    body = app(builder, lambda *_: None)
    assert b"".join(body)
    span, _ = told.spans[0], told.events("request.finished")
    assert len(span.attributes.get("server.address", "")) <= 400


def test_an_untrusted_caller_s_trace_is_linked_to(told: Captured):
    seen = []
    app = made(trusts=lambda environ: environ["HTTP_X_KEY"] == "ours")
    app.before_request(lambda: seen.append(dict(baggage.get_all())))
    parent = f"00-{'ab' * 16}-{'cd' * 8}-00"
    headers = {"traceparent": parent, "baggage": "a=1", "X-Key": "theirs"}
    app.test_client().get("/users/7", headers=headers)
    span, line = ended(told, "GET /users/<int:number>")
    assert span.parent is None
    assert line["trace_id"] != "ab" * 16
    assert [trace.format_trace_id(link.context.trace_id) for link in span.links] == ["ab" * 16]
    app.test_client().get("/users/7", headers={**headers, "X-Key": "ours"})
    # Its sampled flag says no, and it is believed.
    assert len(told.spans) == 1
    assert told.events("request.finished")[-1]["trace_id"] == "ab" * 16
    assert seen == [{}, {"a": "1"}]


def test_a_predicate_that_fails_trusts_nobody(told: Captured, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("followthrough.guard.strict", False)
    app = made(trusts=lambda environ: environ["missing"])
    app.test_client().get("/users/7", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    assert ended(told, "GET /users/<int:number>")[0].parent is None


def test_a_predicate_is_asked_only_of_who_names_a_trace(told: Captured):
    app = made(trusts=lambda environ: environ["missing"])
    token = context.attach(baggage.set_baggage("around", "1"))
    try:
        app.test_client().get("/users/7", headers={"traceparent": "²"})
    finally:
        context.detach(token)
    assert ended(told, "GET /users/<int:number>")[0].parent is None


def test_the_settings_say_whom_to_trust(told: Captured, monkeypatch: pytest.MonkeyPatch):
    object.__setattr__(told.settings, "trust", ("10.0.0.0/8",))
    app = made()
    headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    for address in ("10.0.0.7", "11.0.0.7"):
        app.test_client().get("/users/7", headers=headers, environ_base={"REMOTE_ADDR": address})
    assert [span.parent is None for span in told.spans] == [False, True]
