"""The demo's own receiver of webhooks, on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

HOST = "127.0.0.1"
LARGEST = 1024**2  # bytes


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Take the message; one to /gone is told never to come again."""
        self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LARGEST))
        gone = self.path == "/gone"
        self.send_response(HTTPStatus.GONE if gone else HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing between the rows of the table."""


@contextmanager
def receiving() -> Iterator[str]:
    """A receiver that runs meanwhile; its address."""
    with ThreadingHTTPServer((HOST, 0), _Receiver) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
