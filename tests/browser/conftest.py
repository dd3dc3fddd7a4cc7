"""A browser, and an agent with traces in it."""

from __future__ import annotations

import http.client
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from followthrough.console import otlp
from tests.browser.chromium import Tab, chromium
from tests.support import free_port, python, running, wait_for

CONSOLE = Path(__file__).parent.parent / "unit" / "followthrough" / "console"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Agent(NamedTuple):
    console: int
    otlp: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.console}"

    def send(self, body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.otlp, timeout=5)
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture(scope="session")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser):
    tab = Tab(browser)
    yield tab
    tab.close()


@pytest.fixture(scope="session")
def empty_agent(tmp_path_factory):
    yield from _agent(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="session")
def agent(tmp_path_factory):
    """An agent that was sent the sample trace, as if it had just happened."""
    for agent in _agent(tmp_path_factory.mktemp("agent")):
        request = otlp.from_json((CONSOLE / "sample.json").read_bytes())
        _move(request, time.time_ns() - 60 * 10**9)
        wait_for(lambda: agent.send(request.SerializeToString()) == 200, "the trace is sent")  # noqa: B023
        yield agent


def _agent(directory):
    agent = Agent(free_port(), free_port())
    env = {
        "FOLLOWTHROUGH_STATE_DIR": str(directory / "state"),
        "FOLLOWTHROUGH_CONSOLE_PORT": str(agent.console),
        "FOLLOWTHROUGH_OTLP_PORT": str(agent.otlp),
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
    }
    argv = python("-m", "followthrough.cli", "agent")
    with running(argv, directory / "agent.log", env) as program:
        wait_for(lambda: "agent.ready" in program.output(), "the agent is ready")
        yield agent


def _move(request, start):
    spans = [
        span
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    ]
    by = start - min(span.start_time_unix_nano for span in spans)
    for span in spans:
        span.start_time_unix_nano += by
        span.end_time_unix_nano += by
        for event in span.events:
            event.time_unix_nano += by
