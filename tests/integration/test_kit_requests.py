"""Requests in real servers of each kind: answered, cut off and killed, each told once."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from followthrough.recorder import inflight, places
from tests.integration.test_kit_recorder import end_agent
from tests.integration.test_kit_web import Web
from tests.support import answers, free_port, python, running, wait_for
from tests.support.collector import collector

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=["sync", "gthread", "gevent"])
def web(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp(request.param)
    port = free_port()
    argv = python("-m", "gunicorn", "tests.support.kit_service:web", "-k", request.param)
    argv += ["--bind", f"127.0.0.1:{port}", "--graceful-timeout", "2"]
    with collector() as spans:
        env = {
            "KIT_BROKER": "memory://",
            "FOLLOWTHROUGH_STATE_DIR": str(folder / "state"),
            "FOLLOWTHROUGH_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with running(argv, folder / "web.log", env) as program:
            wait_for(lambda: answers(port), "gunicorn answers")
            yield Web(program, port, folder / "state", spans)
            end_agent(folder / "state")


def begun(web: Web, path: str, request_id: str) -> socket.socket:
    """A connection on which a request was sent."""
    client = socket.create_connection(("127.0.0.1", web.port), timeout=10)
    text = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: {request_id}\r\n\r\n"
    client.sendall(text.encode())
    return client


def test_an_answer_is_told_once(web: Web):
    assert web.get("/stream", **{"X-Request-ID": "answered"})[2] == b"0\n1\n2\n"
    line = web.line("answered")
    assert (line["outcome"], line["status"]) == ("success", 200)
    (span,) = wait_for(lambda: web.spans.named("GET /stream"), "the span")
    assert span.span_id.hex() == line["span_id"]
    assert web.counted("/stream", "200") == 1


def test_a_stream_that_breaks_is_told_once(web: Web):
    with pytest.raises(http.client.HTTPException):
        web.get("/broken", **{"X-Request-ID": "broken"})
    line = web.line("broken")
    assert (line["outcome"], line["status"], line["error_type"]) == ("failure", 200, "ValueError")
    (span,) = wait_for(lambda: web.spans.named("GET /broken"), "the span")
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert web.counted("/broken", "200") == 1


def test_a_caller_that_goes_away_is_told_once(web: Web):
    with begun(web, "/endless", "left") as client:
        assert client.recv(1000)
    line = web.line("left")
    assert (line["outcome"], line["error_type"]) == ("disconnected", "ClientDisconnected")
    (span,) = wait_for(lambda: web.spans.named("GET /endless"), "the span")
    assert span.status.code == span.status.STATUS_CODE_UNSET
    assert web.counted("/endless", "200") == 1


def test_a_request_killed_with_its_process_is_told_by_the_survivor(web: Web):
    """Last, as it ends the process that the tests before were answered by."""
    with begun(web, "/wait", "killed"):
        owner = wait_for(lambda: under_way(web.state, b"GET /wait"), "the request is under way")
        os.kill(owner, signal.SIGKILL)
        (span,) = wait_for(lambda: web.spans.named("GET /wait"), "the span", 30)
    attributes = {each.key: each.value.string_value for each in span.attributes}
    assert attributes["http.route"] == "/wait"
    assert attributes["http.request.id"] == "killed"
    assert attributes["error.type"] == "ProcessLost"
    assert span.status.code == span.status.STATUS_CODE_ERROR
    wait_for(lambda: web.counted("/wait", "") == 1, "the count")
    assert web.get("/stream")[0] == 200
    assert len(web.spans.named("GET /wait")) == 1


def under_way(state: Path, name: bytes) -> int | None:
    """The process in whose table a span of this name is."""
    for path in (state / "rings").glob(f"*{places.UNDER_WAY}"):
        raw = path.read_bytes()
        if name in raw:
            return int(inflight.START.unpack_from(raw)[1])
    return None
