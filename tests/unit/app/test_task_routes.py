"""Asking for tasks and workflows, cancelling them, and listing them, in eager mode."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from celery import chain, chord, group
from sqlalchemy import func, select

from app import db, registry
from app.models import Submission, TaskRecord
from app.services.overview import Shared, age
from tests.support.jobs import noted, step
from tests.support.parts import MAIL


@pytest.fixture
def app(make_app):
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1")
    with app.app_context():
        yield app


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def pending(app):
    """The id of a task of which nothing is stored."""
    registry.remember(["waits"], "test.waits", "waits")
    return "waits"


def status(client, task_id, query=""):
    return client.get(f"/api/task-status/{task_id}{query}")


def fields(answer):
    assert answer.status_code == 400, answer.get_json()
    return [each["field"] for each in answer.get_json()["errors"]]


SHAPES = {
    "chain": lambda s: chain(s(), s(), s()),
    "group": lambda s: group(s(), s(), s()),
    "chord": lambda s: chord([s(), s()], s()),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_workflow_shows_its_children(client, tmp_path, shape):
    result = registry.publish(SHAPES[shape](lambda: step.s(directory=str(tmp_path))))
    told = status(client, result.id).get_json()
    assert told["state"] == "SUCCESS", told
    assert told["result"] == ([1, 1, 1] if shape == "group" else 1)
    assert told["progress"] == {"current": 3, "total": 3, "percent": 100}
    assert told["children_total"] == 3
    assert {each["name"] for each in told["children"]} == {"test.step"}
    assert [each["task_id"] for each in told["children"]] == noted(tmp_path, "ran")
    child = told["children"][0]
    assert "children" not in status(client, child["task_id"]).get_json()


@pytest.mark.parametrize("wait", ["x", "-1", "31", "nan", "inf", "", "1e9"])
def test_a_wrong_wait_is_named(client, pending, wait):
    assert fields(status(client, pending, f"?wait={wait}")) == ["wait"]


def test_a_wait_without_an_end_answers_what_is(client, pending):
    assert status(client, pending, "?wait=0.05&other=1").get_json()["state"] == "PENDING"


def test_only_half_of_the_threads_wait(make_app):
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1", WEB_THREADS="4")
    waiting = app.extensions["waiting"]
    assert [waiting.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    with app.app_context():
        registry.remember(["waits"], "test.waits", "waits")
        # Would take half a minute.
        assert status(app.test_client(), "waits", "?wait=30").get_json()["state"] == "PENDING"


def test_a_pending_task_is_cancelled_once(client, pending):
    first = client.post(f"/api/task-cancel/{pending}")
    assert first.status_code == 200
    assert first.get_json() == {
        "message": f"Task {pending} cancellation requested",
        "task_id": pending,
        "was": "pending",
        "cancelled": 1,
    }
    assert status(client, pending).get_json()["status"] == "Task was cancelled"
    again = client.post(f"/api/task-cancel/{pending}")
    assert (again.status_code, again.get_json()["was"]) == (200, "cancelled")


def test_a_running_task_is_said_to_run(client, app, pending):
    app.extensions["celery"].backend.store_result(pending, {"current": 1}, "PROGRESS")
    assert client.post(f"/api/task-cancel/{pending}").get_json()["was"] == "running"


def test_what_has_ended_is_not_cancelled(client):
    task_id = client.post("/api/process-data/1").get_json().get("task_id")
    task_id = task_id or client.post("/api/send-email", json=MAIL).get_json()["task_id"]
    ended = status(client, task_id).get_json()["state"]
    answer = client.post(f"/api/task-cancel/{task_id}")
    assert answer.status_code == 409
    assert answer.get_json()["state"] == ended


@pytest.mark.parametrize("task_id", ["unknown", "x" * 300, "%00", "%0A"])
def test_an_unknown_task_is_neither_shown_nor_cancelled(client, task_id):
    assert status(client, task_id).status_code == 404
    assert client.post(f"/api/task-cancel/{task_id}").status_code == 404


def send(client, caller, job):
    with client.application.test_request_context(headers={"X-Caller": caller}):
        return registry.publish(job).id


def test_each_caller_sees_its_own_tasks_newest_first(client, tmp_path):
    job = step.s(directory=str(tmp_path))
    ids = [send(client, "ada", job.clone()) for _ in range(3)]
    send(client, "grace", job.clone())
    told = client.get("/api/tasks", headers={"X-Caller": "ada"}).get_json()
    assert [each["task_id"] for each in told["tasks"]] == ids[::-1]
    assert told["next"] is None
    assert {"name": "test.step", "state": "SUCCESS"}.items() <= told["tasks"][0].items()
    assert client.get(told["tasks"][0]["status_url"]).status_code == 200
    assert client.get("/api/tasks").get_json()["tasks"] == []


def test_pages_join_without_a_gap(client, tmp_path):
    ids = [send(client, "ada", step.s(directory=str(tmp_path))) for _ in range(5)]
    seen, url = [], "/api/tasks?limit=2&state=SUCCESS,FAILURE"
    while url:
        told = client.get(url, headers={"X-Caller": "ada"}).get_json()
        seen += [each["task_id"] for each in told["tasks"]]
        url = told["next"]
        assert url is None or urlsplit(url).query.startswith("limit=2&state=")
    assert seen == ids[::-1]


def test_a_list_is_chosen_by_state_and_name(client, tmp_path):
    made = group(step.s(directory=str(tmp_path)), step.s(directory=str(tmp_path)))
    send(client, "ada", step.s(directory=str(tmp_path)))
    whole = send(client, "ada", made)
    for query, found in (
        ("name=celery.group", [whole]),
        ("name=unknown", []),
        ("state=PENDING", []),
        ("state=SUCCESS&name=celery.group", [whole]),
    ):
        told = client.get(f"/api/tasks?{query}", headers={"X-Caller": "ada"}).get_json()
        assert [each["task_id"] for each in told["tasks"]] == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=DONE", "state"),
        ("state=SUCCESS,", "state"),
        ("name=%00", "name"),
        ("name=" + "x" * 256, "name"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1.5", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("cursor=1", "cursor"),
        ("cursor=x-1", "cursor"),
        ("cursor=" + "9" * 100 + "-1", "cursor"),
        ("page=1", "page"),
    ],
)
def test_a_wrong_parameter_is_named(client, query, field):
    assert fields(client.get(f"/api/tasks?{query}")) == [field]


@pytest.mark.parametrize("caller", ["x" * 65, "\x7f", "a\u00ad"])
def test_a_wrong_caller_is_refused_before_anything_is_sent(client, caller):
    answer = client.post("/api/send-email", json=MAIL, headers={"X-Caller": caller})
    assert fields(answer) == ["X-Caller"]
    with db.session() as session:
        assert session.scalar(select(func.count()).select_from(TaskRecord)) == 0
        assert session.scalar(select(func.count()).select_from(Submission)) == 0


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_monitoring_without_a_worker(client, prefix):
    assert client.get(f"{prefix}/monitoring/workers").get_json() == {"workers": []}
    health = client.get(f"{prefix}/monitoring/health")
    assert health.status_code == 503
    assert health.get_json() == {"status": "unhealthy", "message": "No workers responding"}
    queues = client.get(f"{prefix}/monitoring/queues").get_json()["queues"]
    assert sorted(queues) == ["default", "email", "high_priority", "low_priority", "reports"]
    assert {"workers": [], "length": 0, "oldest_age_seconds": None} in queues.values()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_at_the_root(client, path):
    assert client.get(path).status_code == 200


def test_what_was_asked_a_moment_ago_is_not_asked_again():
    times, asked = iter([0.0, 0.5, 2.0, 2.0]), iter(range(9))
    shared = Shared(lambda: next(times))
    assert [shared.get(lambda: next(asked)) for _ in range(3)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"properties": {"timestamp": 90}}', 10.0),
        ('{"properties": {"timestamp": 101}}', 0.0),
        ('{"properties": {}}', None),
        ('{"properties": {"timestamp": null}}', None),
        ("[]", None),
        ("no JSON", None),
        (None, None),
    ],
)
def test_the_age_of_a_message(message, expected):
    assert age(message, 100.0) == expected
