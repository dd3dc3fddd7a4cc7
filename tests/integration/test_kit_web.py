"""The kit in a real gunicorn: each request is one span, one line and one count."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from followthrough.metrics.exposition import expose
from tests.support import Program, answers, free_port, python, redis_server, running, wait_for
from tests.support.collector import Collector, collector

pytestmark = pytest.mark.integration


class Web:
    """A gunicorn with its collector and its state directory."""

    def __init__(self, program: Program, port: int, state: Path, spans: Collector) -> None:
        self.program = program
        self.port = port
        self.state = state
        self.spans = spans

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def lines(self, event: str = "request.finished") -> list[dict[str, Any]]:
        texts = self.program.output().splitlines()
        lines = [json.loads(text) for text in texts if text.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def line(self, request_id: str) -> dict[str, Any]:
        """The one line about this request, once a later request has its line too."""
        found = lambda key: [x for x in self.lines() if x["request_id"] == key]  # noqa: E731
        wait_for(lambda: found(request_id), "the request's line")
        self.get("/nowhere", **{"X-Request-ID": f"after-{request_id}"})
        wait_for(lambda: found(f"after-{request_id}"), "a later request's line")
        assert len(found(request_id)) == 1
        return found(request_id)[0]

    def counted(self, route: str, status: str) -> float:
        for family in text_string_to_metric_families(expose(self.state).decode()):
            for sample in family.samples:
                labels = sample.labels
                if (
                    sample.name == "http_server_request_duration_seconds_count"
                    and labels["http_route"] == route
                    and labels["http_response_status_code"] == status
                ):
                    return float(sample.value)
        return 0.0


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("web")
    port = free_port()
    argv = python("-m", "gunicorn", "tests.support.kit_service:web", "-w", "2", "--threads", "2")
    argv += ["--bind", f"127.0.0.1:{port}"]
    with redis_server(folder) as (_redis, url), collector() as spans:
        env = {
            "KIT_BROKER": url,
            "FOLLOWTHROUGH_STATE_DIR": str(folder / "state"),
            "FOLLOWTHROUGH_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
        }
        with running(argv, folder / "web.log", env) as program:
            wait_for(lambda: answers(port), "gunicorn answers")
            yield Web(program, port, folder / "state", spans)


def test_a_request_is_one_line_one_count_and_one_trace_with_its_task(web: Web) -> None:
    status, headers, body = web.get("/add/5", **{"X-Request-ID": "first"})
    line = web.line("first")
    assert status == 200
    assert (line["method"], line["route"], line["status"]) == ("GET", "/add/<int:a>", 200)
    assert 0 < line["duration"] < 5
    assert headers["traceresponse"] == f"00-{line['trace_id']}-{line['span_id']}-03"
    assert web.counted("/add/<int:a>", "200") == 1
    server = wait_for(lambda: web.spans.named("GET /add/<int:a>"), "the server span")[0]
    publish = wait_for(lambda: web.spans.named("send kit.add"), "the publish span")[0]
    assert publish.parent_span_id == server.span_id
    assert publish.trace_id.hex() == line["trace_id"]
    ids = [a.value.string_value for a in publish.attributes if a.key == "messaging.message.id"]
    assert ids == [json.loads(body)["task_id"]]
    assert {a.key for a in server.attributes} >= {"http.request.method", "http.route", "url.path"}


def test_a_failing_view_is_a_line_at_error_and_its_traceback_has_the_same_trace(web: Web) -> None:
    assert web.get("/fail", **{"X-Request-ID": "failing"})[0] == 500
    line = web.line("failing")
    assert (line["level"], line["status"], line["route"]) == ("error", 500, "/fail")
    flask_line = web.lines("Exception on /fail [GET]")[0]
    assert flask_line["exception"]["message"] == "the page broke"
    assert flask_line["trace_id"] == line["trace_id"]
    assert web.counted("/fail", "500") == 1


def test_a_streamed_answer_is_one_line_with_the_trace_of_its_span(web: Web) -> None:
    assert web.get("/stream", **{"X-Request-ID": "streamed"})[2] == b"0\n1\n2\n"
    line = web.line("streamed")
    server = wait_for(lambda: web.spans.named("GET /stream"), "the server span")[0]
    assert server.trace_id.hex() == line["trace_id"]
    assert server.span_id.hex() == line["span_id"]


def test_unknown_paths_and_methods_share_one_series(web: Web) -> None:
    before = web.counted("", "404")
    for n in range(5):
        assert web.get(f"/nothing/{n}")[0] == 404
    assert web.get("/nothing", "BREW")[0] == 404
    wait_for(lambda: web.counted("", "404") >= before + 5, "five counted")
    text = expose(web.state).decode()
    assert "/nothing" not in text
    assert "BREW" not in text
    assert 'http_request_method="_OTHER"' in text


def test_a_bad_request_id_is_replaced(web: Web) -> None:
    web.get("/nowhere", **{"X-Request-ID": "x" * 100})
    wait_for(lambda: web.lines()[-1]["route"] == "", "a line")
    assert "x" * 100 not in web.program.output()


def test_the_web_process_says_nothing_that_is_not_json(web: Web) -> None:
    """Gunicorn's own lines before the application is there are its default ones."""
    web.get("/nowhere", **{"X-Request-ID": "json"})
    web.line("json")
    texts = [text for text in web.program.output().splitlines() if text]
    first = next(n for n, text in enumerate(texts) if text.startswith("{"))
    assert all(text.startswith("{") for text in texts[first:] if "[INFO]" not in text)
    assert "telemetry.error" not in web.program.output()


def test_gunicorn_takes_the_log_settings(tmp_path: Path) -> None:
    """With the kit's logger class gunicorn's own lines go through the chain from the start."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "from followthrough.logs.gunicorn import Logger\nlogger_class = Logger\nproc_name = 'web'\n"
    )
    port = free_port()
    argv = python("-m", "gunicorn", "tests.support.kit_service:web", "-c", str(config))
    env = {
        "KIT_BROKER": "memory://",
        "FOLLOWTHROUGH_STATE_DIR": str(tmp_path / "state"),
        "FOLLOWTHROUGH_LOG_FORMAT": "json",
        "OTEL_TRACES_EXPORTER": "none",
    }
    argv += ["--bind", f"127.0.0.1:{port}"]
    with running(argv, tmp_path / "web.log", env) as program:
        wait_for(lambda: answers(port), "gunicorn answers")
        assert program.stop() == 0
        texts = [text for text in program.output().splitlines() if text]
    lines = [json.loads(text) for text in texts]
    assert any("Starting gunicorn" in line["event"] for line in lines)
    assert {line["logger"] for line in lines} == {"gunicorn.error"}
