"""Requests go out as OTLP's settings say, and answers are read as its specification says."""

from __future__ import annotations

import gzip
import ssl
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from followthrough.agent.sender import Answer, to_logs, to_traces
from followthrough.settings import Settings, load

PEM = Path(__file__).parent.parent / "alerts" / "loopback.pem"


def settings(server: HTTPServer, **more: str) -> Settings:
    return load(Settings, {"OTEL_EXPORTER_OTLP_ENDPOINT": server.url_for("/"), **more})


@pytest.mark.parametrize(
    ("signal", "path", "other"), [("TRACES", "/v1/traces", "LOGS"), ("LOGS", "/v1/logs", "TRACES")]
)
def test_each_signal_has_its_path_headers_and_compression(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, signal: str, path: str, other: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-all=1")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}_HEADERS", "x-own=2,authorization=Bearer%20t")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{other}_HEADERS", "x-other=3")
    seen: list[Request] = []

    def take(request: Request) -> Response:
        seen.append(request)
        assert gzip.decompress(request.get_data()) == b"request"
        return Response("")

    httpserver.expect_request(path).respond_with_handler(take)
    chosen = settings(httpserver, OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    sender = to_traces(chosen) if signal == "TRACES" else to_logs(chosen)
    assert sender.send(b"request", 5) == Answer(taken=True)
    headers = seen[0].headers
    assert headers["Content-Type"] == "application/x-protobuf"
    assert (headers["x-own"], headers["authorization"]) == ("2", "Bearer t")
    assert "x-other" not in headers


@pytest.mark.parametrize(
    ("status", "final"),
    [
        *((status, True) for status in (400, 401, 404, 500)),
        *((status, False) for status in (429, 502, 503, 504)),
    ],
)
def test_what_may_be_sent_again_is_what_the_specification_names(
    httpserver: HTTPServer, status: int, final: bool
) -> None:
    httpserver.expect_request("/v1/traces").respond_with_data("", status)
    answer = to_traces(settings(httpserver)).send(b"request", 5)
    assert (answer.taken, answer.final) == (False, final)


def test_a_wanted_pause_and_refused_spans_are_read(httpserver: HTTPServer) -> None:
    httpserver.expect_ordered_request("/v1/traces").respond_with_data(
        "", 503, headers={"Retry-After": "7"}
    )
    partial = ExportTraceServiceResponse()
    partial.partial_success.rejected_spans = 3
    httpserver.expect_ordered_request("/v1/traces").respond_with_data(partial.SerializeToString())
    sender = to_traces(settings(httpserver))
    assert sender.send(b"request", 5).retry_after == 7
    assert sender.send(b"request", 5) == Answer(taken=True, rejected=3)


def test_a_collector_that_is_away_or_hangs_is_tried_again(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = load(Settings, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    answer = to_traces(away).send(b"request", 5)
    assert (answer.taken, answer.final) == (False, False)


def test_a_certificate_of_ones_own_is_trusted_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of the machine, which requests prefers to what it was given.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with HTTPServer("127.0.0.1", 0, ssl_context=context) as server:
        server.expect_request("/v1/traces").respond_with_data("")
        answer = to_traces(settings(server)).send(b"request", 5)
        assert (answer.taken, answer.final) == (False, False)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", str(PEM))
        assert to_traces(settings(server)).send(b"request", 5).taken


def test_log_records_have_nowhere_to_go_without_a_collector() -> None:
    answer = to_logs(load(Settings, {})).send(b"request", 5)
    assert (answer.taken, answer.final) == (False, True)
    assert "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT" in answer.reason
