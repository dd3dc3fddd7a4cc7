"""Flower beside the service, and by hand: nobody gets in without the password."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request

import pytest

from tests.support import free_port, python, redis_server, running, wait_for
from tests.support.service import running_service

pytestmark = pytest.mark.integration


def ask(port, path="/api/tasks", credentials=None):
    """The status and what is answered."""
    word = base64.b64encode((credentials or "").encode()).decode()
    headers = {"Authorization": f"Basic {word}"} if credentials else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def tasks(port, credentials):
    status, body = ask(port, credentials=credentials)
    return {key: task["state"] for key, task in json.loads(body).items()} if status == 200 else {}


def test_it_shows_tasks_to_those_who_know_the_password_and_remembers_them(tmp_path):
    port = free_port()
    env = {"FLOWER": "1", "FLOWER_PORT": str(port)}
    with running_service(tmp_path / "state", **env) as (service, program):
        assert f"http://127.0.0.1:{port}" in program.output()
        credentials = (service.state / "flower" / "credentials").read_text().strip()
        for path in ("/", "/workers", "/tasks", "/api/tasks", "/api/workers"):
            assert ask(port, path)[0] == 401
            assert ask(port, path, "flower:guessed")[0] == 401
        assert ask(port, "/workers", credentials)[0] == 200
        assert credentials.partition(":")[2] not in program.output()

        task = service.send_email().body["task_id"]
        wait_for(lambda: tasks(port, credentials).get(task) == "SUCCESS", "Flower shows the task")

        assert service.manage("restart", "flower").wait(30) == 0
        wait_for(lambda: tasks(port, credentials).get(task) == "SUCCESS", "it is remembered")


@pytest.mark.parametrize("target", ["app.worker", "run.celery"])
def test_by_hand_it_asks_for_the_password_too(tmp_path, target):
    port = free_port()
    with redis_server(tmp_path) as (_, url):
        env = {
            "CELERY_BROKER_URL": url,
            "STATE_DIR": str(tmp_path / "state"),
            "OTEL_TRACES_EXPORTER": "none",
        }
        argv = python("-m", "celery", "-A", target, "flower", f"--port={port}")
        with running(argv, tmp_path / "flower.log", env) as program:
            wait_for(lambda: ask(port, "/healthcheck")[0] == 200, "Flower answers")
            assert ask(port)[0] == 401
            credentials = (tmp_path / "state" / "flower" / "credentials").read_text().strip()
            assert ask(port, "/workers", credentials)[0] == 200
            assert credentials.partition(":")[2] not in program.output()


def test_in_production_it_does_not_start_without_one(tmp_path):
    env = {
        "APP_ENV": "production",
        "SECRET_KEY": "a long and random text",
        "STATE_DIR": str(tmp_path / "state"),
    }
    argv = python("-m", "celery", "-A", "app.worker", "flower", f"--port={free_port()}")
    with running(argv, tmp_path / "flower.log", env) as program:
        assert program.wait(20) == 2
        [line] = program.output().splitlines()
        assert line.startswith("FLOWER_BASIC_AUTH: ")
