"""Payment gateways for workers that a test kills while a charge is under way.

The payment method says where it is held: `before` the charge, or `after` it and before its answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from app.services.payments.sandbox import Sandbox
from tests.support import wait_for
from tests.support.jobs import note

METHODS = ("before", "after")


def held_at(method: str, hold: Callable[[], Any], charge: Callable[[], str]) -> str:
    """Charge, and hold before or after it."""
    if method == "before":
        hold()
    transaction_id = charge()
    if method == "after":
        hold()
    return transaction_id


class Holding(Sandbox):
    """Named by `tests.support.gateways:Holding`; held until the file `go` is there."""

    methods = METHODS

    def __init__(self, settings):
        self.directory = Path(settings.state_dir).parent

    def charge(self, terms):
        return held_at(terms.method, self._hold, lambda: super(Holding, self).charge(terms))

    def _hold(self):
        note(str(self.directory), "held", os.getpid())
        wait_for((self.directory / "go").exists, "the test lets go", 60)


class Shop:
    """Takes charges over HTTP and counts them; a key that it knows is charged no second time.

    Like a real one it goes on with a request whose sender has died.
    """

    def __init__(self) -> None:
        self.go = threading.Event()
        self.held = 0
        self.charged: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/charges"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, key: str, method: str) -> str:
        return held_at(method, self._hold, lambda: self._charge(key))

    def _hold(self) -> None:
        with self._lock:
            self.held += 1
        self.go.wait(60)

    def _charge(self, key: str) -> str:
        with self._lock:
            known = dict(self.charged)
            if key not in known:
                self.charged.append((key, f"shop_{len(self.charged)}"))
            return dict(self.charged)[key]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                transaction = shop.take(self.headers["Idempotency-Key"], body["payment_method"])
                answer = json.dumps({"transaction_id": transaction}).encode()
                # Its sender may be gone.
                with contextlib.suppress(ConnectionError):
                    self._answer(answer)

            def _answer(self, content: bytes) -> None:
                self.send_response(201)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_args: object) -> None:
                pass

        return Handler
