"""The service's programs one by one, for tests that stop and kill them."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiosmtpd.controller import Controller

from tests.support import Program, free_port, python, running, wait_for

MAIL = {"recipient": "ada@example.com", "subject": "Hello", "body": "Text."}


@dataclass
class Reply:
    status: int
    headers: Any
    body: Any
    seconds: float


@dataclass
class Parts:
    """Web and worker processes that share a directory, a broker and a mail server."""

    directory: Path
    redis: str
    env: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.env = {
            "STATE_DIR": str(self.directory / "state"),
            "CELERY_BROKER_URL": self.redis,
            "PORT": str(self.port),
            "OTEL_TRACES_EXPORTER": "none",
            "FOLLOWTHROUGH_STRICT": "1",
            "FOLLOWTHROUGH_LOG_FORMAT": "json",
            **self.env,
        }

    @contextlib.contextmanager
    def web(self, *options: str) -> Iterator[Program]:
        argv = python("-m", "gunicorn", *options, "run:app")
        with running(argv, self.directory / "web.log", self.env) as program:
            wait_for(lambda: self.get("/api/health").status == 200, "web answers")
            yield program

    @contextlib.contextmanager
    def worker(
        self, *options: str, target: str = "app.worker", name: str = "w"
    ) -> Iterator[Program]:
        """A worker that is ready; it doesn't spend a second looking for others first."""
        argv = python("-m", "celery", "-A", target, "worker", "-n", f"{name}@test")
        argv += ["--without-mingle", *options]
        log = self.directory / f"worker-{name}.log"
        with running(argv, log, self.env) as program:
            wait_for(lambda: f"{name}@test ready" in program.output(), f"worker {name} is ready")
            yield program

    def get(self, path: str) -> Reply:
        return self._request(urllib.request.Request(self._url(path)))

    def post(self, path: str, document: Any) -> Reply:
        return self.post_raw(path, json.dumps(document).encode())

    def post_raw(self, path: str, raw: bytes, content_type: str = "application/json") -> Reply:
        headers = {"Content-Type": content_type}
        return self._request(urllib.request.Request(self._url(path), raw, headers))

    def send(self, **changes: str) -> Reply:
        return self.post("/api/send-email", {**MAIL, **changes})

    def status(self, task_id: str) -> Reply:
        return self.get(f"/api/task-status/{task_id}")

    def state(self, task_id: str) -> Any:
        return self.status(task_id).body.get("state")

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _request(self, request: urllib.request.Request) -> Reply:
        start = time.monotonic()
        try:
            response = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            body = json.loads(response.read() or b"null")
        return Reply(response.status, response.headers, body, time.monotonic() - start)


class MailServer:
    """An SMTP server that keeps mails and refuses those that `refusals` names by recipient.

    A refusal is used up: the recipient's next mail is taken, unless it is given several.
    """

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refusals: dict[str, list[str]] = {}
        self.attempts: list[str] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._controller.port}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802
        self.attempts.append(address)
        if replies := self.refusals.get(address):
            return replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802
        self.mails.append(envelope)
        return "250 Message accepted for delivery"
