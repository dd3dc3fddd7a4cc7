"""One command, one request, one trace: the service as its users meet it."""

from __future__ import annotations

import contextlib
import json
import signal
import time

import psutil
import pytest

from tests.support import redis_server, wait_for
from tests.support.service import redis_binaries, running_service

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=redis_binaries(), ids=lambda p: p.rsplit("/", 1)[-1])
def service(request, tmp_path_factory):
    """The whole service, with the embedded Redis and with one that the user named."""
    state = tmp_path_factory.mktemp("state")
    with contextlib.ExitStack() as stack:
        env = {}
        if request.param != "embedded":
            directory = tmp_path_factory.mktemp("redis")
            _, url = stack.enter_context(redis_server(directory, request.param))
            env["CELERY_BROKER_URL"] = url
        yield stack.enter_context(running_service(state, **env))


def tags(span):
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def parent(span):
    return next((r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"), None)


def log_lines(program):
    """The JSON lines of the log; a manager's prefix stands before each."""
    for line in program.output().splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line[line.index("{") :])


def test_a_request_is_one_mail_one_trace_one_count(service):
    """The accepted mail is delivered, and trace, logs and metrics tell the same story."""
    service, program = service
    answer = service.send_email("grace@example.com", "One trace")
    assert answer.status == 202, answer.body
    task_id, trace_id = answer.body["task_id"], answer.body["trace_id"]
    assert answer.body["message"]
    assert answer.body["status_url"].endswith(f"/api/task-status/{task_id}")
    assert answer.headers["Location"].endswith(f"/api/task-status/{task_id}")
    assert answer.headers["traceresponse"].split("-")[1] == trace_id

    status = service.ended(task_id)
    assert status["state"] == "SUCCESS"
    assert status["result"]["recipient"] == "grace@example.com"
    assert all(mail["Date"] for mail in service.mails())
    assert [m["Subject"] for m in service.mails() if m["To"] == "grace@example.com"] == [
        "One trace"
    ]

    spans = {tags(s)["span.kind"]: s for s in service.spans(trace_id, 4)}
    assert set(spans) == {"server", "producer", "consumer", "client"}
    assert parent(spans["server"]) is None
    assert parent(spans["producer"]) == spans["server"]["spanID"]
    assert parent(spans["consumer"]) == spans["producer"]["spanID"]
    assert parent(spans["client"]) == spans["consumer"]["spanID"]
    services = {kind: span["service"] for kind, span in spans.items()}
    assert services == {
        "server": "followthrough-web",
        "producer": "followthrough-web",
        "consumer": "followthrough-worker",
        "client": "followthrough-worker",
    }

    events = wait_for(lambda: events_of(program, trace_id), "both log lines")
    assert events.count("request.finished") == 1
    assert events.count("task.succeeded") == 1

    metrics = service.metrics()
    done = 'celery_task_results_total{error_type="",outcome="success",task="tasks.send_email"}'
    assert done in metrics
    assert 'http_route="/api/send-email"' in metrics


def events_of(program, trace_id):
    events = [line["event"] for line in log_lines(program) if line.get("trace_id") == trace_id]
    ends = {"request.finished", "task.succeeded"}
    return events if ends <= set(events) else None


def test_a_failed_task_says_why(service):
    """A refused recipient fails the task for good, and the status names the reason."""
    service, _ = service
    answer = service.send_email("nobody@refused.example.com")
    status = service.ended(answer.body["task_id"])
    assert status["state"] == "FAILURE"
    assert "550" in status["error"]


def test_a_failed_critical_task_is_one_alert(tmp_path, httpserver):
    """The webhook gets one message that names task, error and trace; the log has the same one."""
    httpserver.expect_request("/hook", method="POST").respond_with_data("", 204)
    env = {
        "FOLLOWTHROUGH_CRITICAL_TASKS": "tasks.send_*",
        "FOLLOWTHROUGH_ALERT_NOTIFIERS": "log,webhook",
        "FOLLOWTHROUGH_ALERT_WEBHOOK_URL": httpserver.url_for("/hook"),
    }
    with running_service(tmp_path / "state", **env) as (service, program):
        good, bad = service.send_email(), service.send_email("nobody@refused.example.com")
        service.ended(good.body["task_id"])
        service.ended(bad.body["task_id"])
        wait_for(lambda: httpserver.log, "the alert arrives")
        wait_for(lambda: alerts_of(program), "the alert is logged")
        program.stop()
        assert [line["task_id"] for line in alerts_of(program)] == [bad.body["task_id"]]
    (alert,) = [json.loads(request.data)["data"] for request, _ in httpserver.log]
    assert alert["task"] == "tasks.send_email"
    assert alert["task_id"] == bad.body["task_id"]
    assert alert["trace_id"] == bad.body["trace_id"]
    assert "550" in alert["message"]


def alerts_of(program):
    return [line for line in log_lines(program) if line["event"] == "alert"]


def test_an_unknown_task_is_not_pending_for_ever(service):
    """An id that was never handed out is a 404 problem."""
    service, _ = service
    answer = service.request("/api/task-status/11111111-1111-4111-8111-111111111111")
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_ctrl_c_stops_all_within_ten_seconds(tmp_path):
    """SIGINT with tasks under way: no process stays, and no accepted task is lost."""
    with running_service(tmp_path / "state") as (service, program):
        family = psutil.Process(program.pid).children(recursive=True)
        assert len(family) >= 6
        accepted = [service.send_email().body["task_id"] for _ in range(30)]
        start = time.monotonic()
        program.signal(signal.SIGINT)
        assert program.wait(12) == 0
        assert time.monotonic() - start < 10
        assert [p for p in family if p.is_running()] == []
    with running_service(tmp_path / "state") as (again, _):
        states = {again.ended(task_id)["state"] for task_id in accepted}
        assert states == {"SUCCESS"}
        assert len(again.mails()) == len(accepted)
