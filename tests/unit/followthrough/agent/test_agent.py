"""The agent as a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest

from followthrough.agent.server import Port, Server
from followthrough.alerts import spool
from followthrough.alerts.alert import new_alert
from tests.support import free_port, python, running, wait_for

SAMPLE = Path(__file__).parent.parent / "console" / "sample.json"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Agent:
    """How to start one agent, and its ports."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.log = directory / "agent.log"
        self.metrics, self.otlp, self.console = free_port(), free_port(), free_port()
        self.env = {
            "FOLLOWTHROUGH_STATE_DIR": str(self.state),
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.metrics),
            "FOLLOWTHROUGH_OTLP_PORT": str(self.otlp),
            "FOLLOWTHROUGH_CONSOLE_PORT": str(self.console),
            "FOLLOWTHROUGH_LOG_FORMAT": "json",
        }

    def program(self, log=None, **env):
        argv = python("-m", "followthrough.cli", "agent")
        return running(argv, log or self.log, {**self.env, **env})

    @contextlib.contextmanager
    def running(self, **env):
        with self.program(**env) as program:
            wait_for(lambda: self.get(self.metrics, "/-/healthy")[0] == 200, "the agent is ready")
            yield program

    def get(self, port, path):
        return ask(port, "GET", path)


def ask(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A running agent that the tests that change nothing share."""
    agent = Agent(tmp_path_factory.mktemp("served"))
    with agent.running():
        yield agent


def send_sample(agent):
    headers = {"Content-Type": "application/json"}
    assert ask(agent.otlp, "POST", "/v1/traces", SAMPLE.read_bytes(), headers)[0] == 200


def test_it_serves_metrics_takes_spans_and_shows_them(served):
    send_sample(served)
    assert "followthrough-web" in served.get(served.console, "/api/services")[1]
    assert "process tasks.send_email" in served.get(served.console, f"/trace/{TRACE}")[1]
    assert "console.css" in served.get(served.console, "/")[1]
    assert served.get(served.console, "/static/console.css")[0] == 200
    status, text = served.get(served.metrics, "/metrics")
    assert status == 200
    assert "build_info{" in text


def test_each_port_answers_only_what_it_is_for(served):
    assert served.get(served.metrics, "/api/services")[0] == 404
    assert served.get(served.otlp, "/metrics")[0] == 404
    assert served.get(served.console, "/metrics")[0] == 404
    assert ask(served.metrics, "POST", "/metrics")[0] == 405


def test_head_is_answered_without_a_body(served):
    with socket.create_connection(("127.0.0.1", served.metrics)) as connection:
        connection.settimeout(5)
        connection.sendall(b"HEAD /-/healthy HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.0 200 OK")
    assert answer.endswith(b"\r\n\r\n")


def test_it_says_where_it_listens(served):
    line = json.loads(served.log.read_text().splitlines()[0])
    assert line["event"] == "agent.ready"
    assert line["traces"] == f"http://127.0.0.1:{served.console}"


def test_connections_that_say_nothing_do_not_hold_others_up(served):
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(socket.create_connection(("127.0.0.1", served.console)))
        assert served.get(served.console, "/")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_three_seconds_when_nothing_else_wakes_it(agent, number):
    with agent.program() as program:
        wait_for(lambda: "agent.ready" in program.output(), "the agent is ready")
        program.signal(number)
        assert program.wait(3) == 0
        assert json.loads(program.output().splitlines()[-1])["event"] == "agent.stopped"


def test_it_stops_within_three_seconds_with_a_request_half_sent(agent):
    with (
        agent.running() as program,
        socket.create_connection(("127.0.0.1", agent.otlp)) as connection,
    ):
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nContent-Length: 100\r\n\r\nx")
        program.signal(signal.SIGTERM)
        assert program.wait(3) == 0


def test_traces_outlive_a_kill(agent):
    with agent.running() as program:
        send_sample(agent)
        program.signal(signal.SIGKILL)
        program.wait()
    with agent.running():
        assert agent.get(agent.console, f"/api/traces/{TRACE}")[0] == 200


def test_a_second_agent_of_the_same_state_names_the_first(agent, tmp_path):
    with agent.running() as first, agent.program(tmp_path / "second.log") as second:
        assert second.wait() == 2
        (line,) = second.output().splitlines()
        assert f"another agent (pid {first.pid})" in line


def test_an_agent_without_any_port_listens_nowhere():
    """waitress, given no socket, takes port 8080 of all addresses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = Port("127.0.0.1", taken.getsockname()[1], "metrics", "SETTING", None)
        server = Server([port], tolerant=True)
        others = {c.laddr.port for c in psutil.Process().net_connections() if c.status == "LISTEN"}
        assert 8080 not in others
    thread = threading.Thread(target=server.run)
    thread.start()
    server.stop()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("port", "setting"),
    [
        ("metrics", "OTEL_EXPORTER_PROMETHEUS_PORT"),
        ("otlp", "FOLLOWTHROUGH_OTLP_PORT"),
        ("console", "FOLLOWTHROUGH_CONSOLE_PORT"),
    ],
)
def test_a_taken_port_is_named_with_the_setting_that_moves_it(agent, port, setting):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", getattr(agent, port)))
        taken.listen()
        with agent.program() as program:
            assert program.wait() == 2
            (line,) = program.output().splitlines()
            assert str(getattr(agent, port)) in line
            assert setting in line


def test_a_state_directory_that_cannot_be_made_is_told_in_a_line(agent, tmp_path):
    (tmp_path / "file").touch()
    with agent.program(FOLLOWTHROUGH_STATE_DIR=str(tmp_path / "file" / "state")) as program:
        assert program.wait() == 2
        assert len(program.output().splitlines()) == 1


def test_an_unknown_notifier_is_told(agent):
    with agent.program(FOLLOWTHROUGH_ALERT_NOTIFIERS="pigeon") as program:
        assert program.wait() == 2
        assert "pigeon" in program.output()


def test_beside_a_collector_it_keeps_no_traces_and_loads_no_flask(agent):
    with agent.running(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as program:
        for port in (agent.otlp, agent.console):
            with pytest.raises(OSError, match="refused"):
                agent.get(port, "/")
        assert not (agent.state / "traces.db").exists()
        assert "site-packages/google" not in Path(f"/proc/{program.pid}/maps").read_text()


def test_alerts_in_the_spool_are_delivered(agent):
    alert = new_alert(
        task="tasks.pay",
        task_id="id-1",
        outcome="failure",
        error_type="ValueError",
        message="no money",
    )
    assert spool.write(agent.state, alert)
    with agent.running() as program:
        wait_for(lambda: alert.id in program.output(), "the alert is logged")
        wait_for(lambda: not spool.pending(agent.state), "the spool is empty")


def test_it_loads_neither_celery_nor_a_database_toolkit_nor_grpc(tmp_path):
    script = (
        "import sys, followthrough.agent.main, followthrough.agent.receiver, "
        "followthrough.console.pages; "
        "print({'celery', 'kombu', 'sqlalchemy', 'grpc', 'requests'} & set(sys.modules))"
    )
    with running(python("-c", script), tmp_path / "log") as program:
        assert program.wait() == 0
        assert program.output().strip() == "set()"
