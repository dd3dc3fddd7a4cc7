"""A collector for tests: takes OTLP over HTTP and keeps the spans, or hangs."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    def __init__(self, port: int) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        # The service that a span came from, by the span's id.
        self.origin: dict[bytes, str] = {}
        self.requests = 0
        # The ports that spans of a name came from: a connection each.
        self.ports: dict[str, set[int]] = {}
        self.hanging = False
        # Bodies that are no request.
        self.broken = 0
        # Called once, after a request was taken; what it held is then in `unanswered`.
        self.before_answer: Callable[[], object] | None = None
        self.unanswered: list[list[int]] = []
        self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def named(self, name: str) -> list[Any]:
        return [span for span in list(self.spans) if span.name == name]

    def take(self, body: bytes, port: int) -> None:
        message = ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            service = _service(resource.resource)
            self.services |= {service} - {""}
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
                for span in scope.spans:
                    self.origin[span.span_id] = service
                    self.ports.setdefault(span.name, set()).add(port)

    def interrupted(self, body: bytes) -> bool:
        """Whether the sender was, say, killed just before it got its answer."""
        interrupt, self.before_answer = self.before_answer, None
        if interrupt is None:
            return False
        self.unanswered.append(
            [
                attribute.value.int_value
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
                for attribute in span.attributes
                if attribute.key == "number"
            ]
        )
        interrupt()
        return True

    def _handler(collector) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.requests += 1
                if collector.hanging:
                    collector.released.wait(60)
                    return
                try:
                    collector.take(body, self.client_address[1])
                except DecodeError:
                    collector.broken += 1
                if collector.interrupted(body):
                    return
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        return Handler


def _service(resource: Any) -> str:
    found = [a.value.string_value for a in resource.attributes if a.key == "service.name"]
    return found[-1] if found else ""


@contextlib.contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    """A collector on a port of its own, or on this one."""
    running = Collector(port)
    thread = threading.Thread(target=running.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.released.set()
        running.server.shutdown()
        running.server.server_close()
        thread.join(5)
