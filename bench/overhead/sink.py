"""A process that takes what the kits send, and tells how many spans of which name came.

Arguments: name=protocol:mode for each port. It writes one line of JSON, the ports by name; below
`control`, GET /<name> answers with the counts since the last time, GET /<name>/tasks with the runs
of tasks that came: a name, and whether it ended with an error.
"""

from __future__ import annotations

import collections
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.overhead import protocols

HANG = 30.0  # seconds
SLOW = 0.9  # of the time that a slow sink leaves its client waiting


class Sink:
    """Requests are kept as they came and read when they are counted, not under load."""

    def __init__(self, protocol: str, mode: str) -> None:
        self.protocol = protocol
        self.mode = mode
        self.kept: list[tuple[str, str, bytes]] = []

    def counts(self) -> dict[str, int]:
        return collections.Counter(span.name for span in self._taken())

    def tasks(self) -> list[tuple[str, bool]]:
        return [(span.task, span.is_error) for span in self._taken() if span.task]

    def _taken(self) -> list[protocols.Seen]:
        kept, self.kept = self.kept, []
        return [span for request in kept for span in protocols.spans(self.protocol, *request)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body in two packets would meet Nagle's algorithm and wait 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True
    sink: Sink

    def do_POST(self) -> None:
        begin = time.monotonic()
        body = self._body()
        if self.sink.mode == "hanging":
            time.sleep(HANG)
        if self.sink.mode == "refusing":
            self._reply(503, b"")
            return
        encoding = self.headers.get("Content-Encoding", "")
        self.sink.kept.append((self.path, encoding, body))
        if self.sink.mode == "slow":
            # Some 1 ms of work becomes 10, and never less than 50.
            time.sleep(max(0.05, (time.monotonic() - begin) * SLOW / (1 - SLOW)))
        self._reply(*_ANSWERS[self.sink.protocol])

    do_PUT = do_POST  # noqa: N815

    def do_GET(self) -> None:
        self._reply(200, _ABOUT.get(self.sink.protocol, b"{}"))

    def log_message(self, *_args: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


_ANSWERS = {
    "otlp": (200, b""),
    "datadog": (200, b'{"rate_by_service":{}}'),
    "sentry": (200, b"{}"),
    "elastic": (202, b""),
}
_ABOUT = {
    "datadog": b'{"version":"7.60.0","endpoints":["/v0.4/traces","/v0.5/traces"]}',
    "elastic": b'{"version":"8.15.0"}',
}


def _serve(handler: type[BaseHTTPRequestHandler]) -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def _control(sinks: dict[str, Sink]) -> type[BaseHTTPRequestHandler]:
    class Control(Handler):
        def do_GET(self) -> None:
            name, _, what = self.path[1:].partition("/")
            answer = sinks[name].tasks() if what else sinks[name].counts()
            self._reply(200, json.dumps(answer).encode())

    return Control


def main(arguments: list[str]) -> None:
    sinks, ports = {}, {}
    for argument in arguments:
        name, _, rest = argument.partition("=")
        sinks[name] = Sink(*rest.split(":"))
        namespace: dict[str, Any] = {"sink": sinks[name]}
        ports[name] = _serve(type(f"{name}Handler", (Handler,), namespace))
    ports["control"] = _serve(_control(sinks))
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
