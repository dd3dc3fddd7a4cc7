"""Each command that a Celery or gunicorn user would type works unchanged."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.support import HOME, free_port, program_env, python, redis_server, running, wait_for
from tests.support.parts import MailServer, Parts

pytestmark = pytest.mark.integration


@pytest.fixture
def parts(tmp_path):
    with redis_server(tmp_path) as (_, url), MailServer() as mail:
        yield Parts(tmp_path, url, {"SMTP_URL": mail.url})


def succeeded(parts, task_id):
    return wait_for(lambda: parts.state(task_id) == "SUCCESS", f"task {task_id} succeeds")


def run(parts, *argv, **env):
    """Run a program to its end; gives its exit code, stdout and stderr."""
    return subprocess.run(
        python(*argv),
        cwd=HOME,
        env=program_env({**parts.env, **env}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_four_web_processes_and_two_workers(parts):
    """`gunicorn -w 4 run:app` and two workers: any process answers for what another took."""
    with parts.web("-w", "4") as web, parts.worker(name="a"), parts.worker(name="b"):
        wait_for(lambda: len(psutil.Process(web.pid).children()) == 4, "four processes")
        with ThreadPoolExecutor(8) as callers:
            ids = [r.body["task_id"] for r in callers.map(lambda _: parts.send(), range(24))]
            assert len(set(ids)) == 24
            assert all(callers.map(lambda each: succeeded(parts, each), ids))


def test_a_worker_of_run_py(parts):
    """`celery -A run.celery worker` is the same worker, by the name that older scripts use."""
    with parts.web(), parts.worker(target="run.celery") as worker:
        succeeded(parts, parts.send().body["task_id"])
        assert "followthrough-worker" in worker.output()
        assert "followthrough-web" not in worker.output()


@pytest.mark.parametrize("target", ["app.worker", "run.celery"])
def test_inspect_ping(parts, target):
    with parts.worker("-P", "solo"):
        ended = run(parts, "-m", "celery", "-A", target, "inspect", "ping")
        assert ended.returncode == 0, ended.stderr
        assert "w@test: OK" in ended.stdout


def test_beat_sends_what_is_due(parts, tmp_path):
    """It keeps its file in the state directory, and says who it is."""
    argv = python("-m", "celery", "-A", "app.worker", "beat")
    # At debug it says when it has nothing more to do; a signal before that would meet an import.
    env = {**parts.env, "FOLLOWTHROUGH_LOG_LEVEL": "debug"}
    with running(argv, tmp_path / "beat.log", env) as beat:
        schedule = tmp_path / "state" / "celerybeat-schedule"
        wait_for(lambda: "Waking up in" in beat.output(), "beat has set itself up")
        assert "followthrough-beat" in beat.output()
        beat.signal(signal.SIGTERM)
        assert beat.wait(5) == 0
    assert list(schedule.parent.glob("celerybeat-schedule*"))


def test_flower_shows_the_worker(parts, tmp_path):
    port = free_port()
    argv = python("-m", "celery", "-A", "app.worker", "flower")
    env = {**parts.env, "FLOWER_BASIC_AUTH": "ada:secret"}
    with (
        parts.worker("-P", "solo"),
        running([*argv, f"--port={port}", "--address=127.0.0.1"], tmp_path / "flower.log", env),
    ):
        url = f"http://127.0.0.1:{port}/api/workers?refresh=1"
        word = base64.b64encode(b"ada:secret").decode()
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {word}"})

        def workers():
            with urllib.request.urlopen(request, timeout=5) as response:
                return json.load(response)

        assert "w@test" in wait_for(workers, "flower knows the worker")


def test_flask_env_is_an_alias_with_a_warning(parts):
    """The old name still works, and says what to set instead."""
    code = "from run import app; print(app.config['TESTING'], app.extensions['settings'].env)"
    ended = run(parts, "-W", "always", "-c", code, FLASK_ENV="testing")
    assert ended.stdout.splitlines()[-1] == "True testing"
    assert "FLASK_ENV is an old name; set APP_ENV instead" in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ("-m", "gunicorn", "run:app"),
        ("-m", "celery", "-A", "app.worker", "worker"),
        ("-m", "celery", "-A", "run.celery", "beat"),
    ],
    ids=lambda argv: " ".join(argv[1:]),
)
def test_wrong_settings_are_all_told_at_start(parts, argv):
    """Exit code 2, a line for each, no traceback."""
    ended = run(parts, *argv, PORT="none", WEB_THREADS="-1", APP_ENV="moon")
    assert ended.returncode == 2
    for name in ("PORT: ", "WEB_THREADS: ", "APP_ENV: "):
        assert name in ended.stderr
    assert "Traceback" not in ended.stderr


def test_production_migrates_when_told(parts):
    """`flask --app run migrate` makes the schema; the web process leaves it alone."""
    env = {"APP_ENV": "production", "SECRET_KEY": "a-secret-of-its-own"}
    parts.env |= env
    assert run(parts, "-m", "flask", "--app", "run", "migrate").returncode == 0
    with parts.web(), parts.worker("-P", "solo"):
        assert parts.get("/api/ready").body == {"status": "ready"}
        succeeded(parts, parts.send(body="long " * 1000).body["task_id"])


def test_a_stopped_web_process_ends_its_requests(parts):
    """SIGTERM: what was accepted is answered, then the process ends within its time."""
    with parts.web() as web, ThreadPoolExecutor(8) as callers:
        parts.send()
        replies = [callers.submit(parts.send) for _ in range(40)]
        wait_for(lambda: sum(each.done() for each in replies) > 4, "requests flow")
        web.signal(signal.SIGTERM)
        assert web.wait(10) == 0
        answered = [each.result() for each in replies if each.exception() is None]
        assert {reply.status for reply in answered} == {202}


def test_a_chunked_body_over_the_limit_is_refused(parts):
    """A body of no stated length is counted while it is read."""
    parts.env["MAX_CONTENT_LENGTH"] = "1000"
    with parts.web():
        request = urllib.request.Request(
            f"http://127.0.0.1:{parts.port}/api/send-email",
            iter([b'{"body": "' + b"a" * 2000 + b'"}']),
            {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        )
        reply = parts._request(request)
        assert reply.status == 413
        assert reply.headers["Content-Type"] == "application/problem+json"
