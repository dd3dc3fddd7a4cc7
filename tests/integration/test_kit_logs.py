"""All that a real worker and a real gunicorn write is JSON, a line each, and nothing twice."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import answers, free_port, python, redis_server, running, wait_for
from tests.support.kit_worker import TRACE, Worker, start

pytestmark = pytest.mark.integration

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("logs")
    with (
        redis_server(folder) as (_redis, url),
        start(folder, url, NOWHERE, FOLLOWTHROUGH_START_AGENT="false") as (program, state),
    ):
        yield Worker(program, url, state)


def every_line(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_a_task_prints_warns_and_logs_is_lines_with_its_ids(worker: Worker) -> None:
    task_id = worker.send("kit.talk")
    end = worker.end(task_id)
    lines = [line for line in every_line(worker.program.output()) if line.get("task_id") == task_id]
    found = {line["logger"]: line for line in lines if "outcome" not in line}
    texts = [line["event"] for line in lines]
    assert "printed" in texts
    assert "to stderr" in texts
    assert found["shop"]["order"] == 7
    assert "logged\npassword=********" in texts
    assert any("careful\nnow" in text for text in texts)
    for line in lines:
        assert (line["task"], line["trace_id"]) == ("kit.talk", TRACE)
        assert line["attempt"] == 1
    assert end["event"] == "task.succeeded"


@pytest.mark.parametrize("task", ["kit.fail", "kit.kill", "kit.soft", "kit.hard", "kit.retry"])
def test_however_a_task_ends_each_line_is_json_and_one_tells_the_end(
    worker: Worker, task: str
) -> None:
    task_id = worker.send(task)
    worker.end(task_id, count=2 if task == "kit.retry" else 1)
    for line in every_line(worker.program.output()):
        assert "Traceback" not in line["event"]
        if task_id in line["event"]:
            # A soft limit may be caught: that line is no end.
            assert "Soft time limit" in line["event"]


def test_a_worker_with_a_log_file_writes_there(tmp_path: Path) -> None:
    path = tmp_path / "celery.log"
    env = {"FOLLOWTHROUGH_START_AGENT": "false", "OTEL_TRACES_EXPORTER": "none"}
    argv = python("-m", "celery", "-A", "tests.support.kit_service:celery", "worker", "-c", "1")
    argv += ["--logfile", str(path)]
    env |= {"KIT_BROKER": "memory://", "FOLLOWTHROUGH_STATE_DIR": str(tmp_path / "state")}
    env |= {"FOLLOWTHROUGH_LOG_FORMAT": "json"}
    with running(argv, tmp_path / "out", env) as program:
        wait_for(lambda: path.exists() and "ready." in path.read_text(), "worker is ready", 30)
        assert program.stop() == 0
    assert every_line(path.read_text())
    # What signals say goes to stderr, past all logging; superusers are warned of themselves.
    rest = [text for text in program.output().splitlines() if text and "worker: " not in text]
    assert [json.loads(text)["logger"] for text in rest] in ([], ["py.warnings"])


def test_gunicorn_says_nothing_that_is_not_json(tmp_path: Path) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("from followthrough.logs.gunicorn import Logger\nlogger_class = Logger\n")
    port = free_port()
    argv = python("-m", "gunicorn", "tests.support.kit_service:web", "-c", str(config))
    argv += ["--bind", f"127.0.0.1:{port}", "--threads", "2"]
    env = {"KIT_BROKER": "memory://", "FOLLOWTHROUGH_STATE_DIR": str(tmp_path / "state")}
    env |= {"FOLLOWTHROUGH_LOG_FORMAT": "json", "OTEL_TRACES_EXPORTER": "none"}
    env |= {"OTEL_SERVICE_NAME": "web"}
    with running(argv, tmp_path / "web.log", env) as program:
        wait_for(lambda: answers(port), "gunicorn answers", 30)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stream", timeout=10) as answer:
            assert answer.read() == b"0\n1\n2\n"
        assert program.stop() == 0
    lines = every_line(program.output())
    assert {line["service"] for line in lines} == {"web"}
    assert [line["event"] for line in lines].count("request.finished") == 1
    assert any("Starting gunicorn" in line["event"] for line in lines)
