"""What the host has set up stays: its structlog, its handlers, its files."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest
import structlog
from flask.logging import default_handler

from followthrough import logs
from followthrough.logs import stdlib

Configure = Callable[..., None]


def test_a_structlog_that_the_host_has_configured_is_left_alone(configured: Configure) -> None:
    told: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, event: dict[str, Any]) -> str:
        told.append(event)
        raise structlog.DropEvent

    structlog.configure(processors=[logs.add_context, logs.redacted, keep])
    handlers = list(logging.getLogger().handlers)
    configured("json", "info", "svc")
    bound = logs.bind(task_id="t1")
    structlog.get_logger("followthrough.celery").info("task.succeeded", note="password=hunter2")
    logs.unbind(bound)
    assert told == [{"event": "task.succeeded", "note": "password=********", "task_id": "t1"}]
    assert logging.getLogger().handlers == handlers


def test_a_second_configure_changes_the_first(configured: Configure) -> None:
    configured("json", "info", "one")
    configured("json", "error", "two")
    assert logging.getLogger().level == logging.ERROR
    ours = [each for each in logging.getLogger().handlers if isinstance(each, stdlib.Handler)]
    assert len(ours) == 1


def test_handlers_of_the_host_stay_and_get_the_kits_lines_too(
    configured: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    console, file = logging.StreamHandler(), logging.FileHandler(tmp_path / "host.log")
    memory = logging.StreamHandler(io.StringIO())
    root.handlers += [console, file, memory]
    configured("json", "info", "svc")
    assert console not in root.handlers
    structlog.get_logger("followthrough.celery").info("task.succeeded", task="a")
    logging.getLogger("mine").warning("hello")
    file.close()
    assert (tmp_path / "host.log").read_text() == 'task.succeeded task="a"\nhello\n'
    assert memory.stream.getvalue() == 'task.succeeded task="a"\nhello\n'
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["task.succeeded", "hello"]


def test_lines_of_requests_by_the_development_server_are_left_out(
    configured: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configured("json", "info", "svc")
    log = logging.getLogger("werkzeug")
    log.info('127.0.0.1 - - [25/Nov/2026 20:00:00] "GET / HTTP/1.1" 200 -\n')
    log.info(" * Running on http://127.0.0.1:5000")
    (line,) = capsys.readouterr().out.splitlines()
    assert "Running" in json.loads(line)["event"]


def test_flasks_logger_writes_no_line_a_second_time(
    configured: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    app = flask.Flask("shop-before")
    app.logger.addHandler(default_handler)
    configured("json", "info", "svc")
    app.logger.warning("hello")
    found = capsys.readouterr()
    assert json.loads(found.out)["event"] == "hello"
    assert found.err == ""
