"""The OTLP receiver, as the protocol asks."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tracemalloc

import pytest
from google.rpc import status_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

from followthrough.agent import receiver as module
from followthrough.agent.receiver import JSON, PROTOBUF, Receiver
from followthrough.console import queries
from followthrough.console.store import Store

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))


def request(*spans):
    message = service.ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for trace_id, span_id in spans or [(TRACE, SPAN)]:
        scope.spans.add(trace_id=trace_id, span_id=span_id, name="x")
    return message.SerializeToString()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "traces.db", max_age=3600, max_bytes=2**28)
    yield store
    store.close()


@pytest.fixture
def send(store):
    """Sends a body to the receiver; the answer's status, headers and body."""

    def send(body, kind=PROTOBUF, encoding=None, method="POST", path="/v1/traces"):
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_TYPE": kind}
        environ["wsgi.input"] = io.BytesIO(body)
        if encoding:
            environ["HTTP_CONTENT_ENCODING"] = encoding
        answer = {}

        def start(status, headers):
            answer.update(status=int(status.split()[0]), headers=dict(headers))

        content = b"".join(Receiver(store)(environ, start))
        assert answer["headers"]["Content-Length"] == str(len(content))
        return answer["status"], answer["headers"], content

    return send


def test_protobuf_is_kept_and_answered_in_protobuf(send, store):
    assert send(request()) == (200, {"Content-Type": PROTOBUF, "Content-Length": "0"}, b"")
    assert [span.name for span in queries.trace(store, TRACE.hex())] == ["x"]


def test_json_is_kept_and_answered_in_json(send, store):
    span = {"traceId": TRACE.hex(), "spanId": SPAN.hex(), "name": "x"}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    status, headers, content = send(body, kind="application/json; charset=utf-8")
    assert (status, headers["Content-Type"], json.loads(content)) == (200, JSON, {})
    assert len(queries.trace(store, TRACE.hex())) == 1


def test_gzip_is_unfolded(send, store):
    assert send(gzip.compress(request()), encoding="gzip")[0] == 200
    assert len(queries.trace(store, TRACE.hex())) == 1


def test_an_empty_request_is_fine(send):
    assert send(b"")[0] == 200


def test_spans_that_are_not_taken_are_counted_in_the_answer(send):
    status, _, content = send(request((TRACE, SPAN), (b"", SPAN), (TRACE, b"\0" * 8)))
    partial = service.ExportTraceServiceResponse.FromString(content).partial_success
    assert (status, partial.rejected_spans) == (200, 2)
    assert partial.error_message == "2 with an invalid trace or span id"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"body": b"\xff\xff"}, 400, 3),
        ({"body": b"{", "kind": JSON}, 400, 3),
        ({"body": b"no gzip", "encoding": "gzip"}, 400, 3),
        ({"body": gzip.compress(request())[:-9], "encoding": "gzip"}, 400, 3),
        ({"encoding": "br"}, 415, 3),
        ({"kind": "text/plain"}, 415, 3),
        ({"kind": ""}, 415, 3),
        ({"method": "GET"}, 405, 12),
        ({"path": "/v1/metrics"}, 404, 5),
        ({"path": "/"}, 404, 5),
    ],
)
def test_a_request_that_is_not_taken_is_answered_with_a_status(send, change, status, code):
    got, headers, content = send(**{"body": request(), **change})
    assert got == status
    if headers["Content-Type"] == JSON:
        assert json.loads(content)["code"] == code
    else:
        message = status_pb2.Status.FromString(content)
        assert message.code == code
        assert message.message


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_body_that_is_too_large_is_refused(send, monkeypatch, encoding):
    monkeypatch.setattr(module, "LIMIT", 1000)
    body = b"\0" * 1001
    assert send(gzip.compress(body) if encoding else body, encoding=encoding)[0] == 413


def test_a_small_body_that_unfolds_to_a_huge_one_is_refused_early(send, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 1000)
    bomb = gzip.compress(b"\0" * 50_000_000)
    tracemalloc.start()
    try:
        assert send(bomb, encoding="gzip")[0] == 413
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_store_that_fails_asks_to_send_again(send, store, monkeypatch):
    def add(_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "add", add)
    status, headers, content = send(request())
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "full" in status_pb2.Status.FromString(content).message
