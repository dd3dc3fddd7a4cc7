"""Each task id that can be asked for is known before anything is published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import select, update

from app import db, registry
from app.models import TaskRecord
from app.services.breaker import UnreachableError


@pytest.fixture
def app(make_app):
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1")
    with app.app_context():
        yield app


@pytest.fixture
def ran(app):
    """The ids of the tasks that ran, each with whether it was known by then."""
    return {}


@pytest.fixture
def job(app, ran):
    """A task that takes any arguments and notes that it ran."""

    @app.extensions["celery"].task(bind=True, name=f"test.job.{id(ran)}")
    def job(self, *_args):
        ran[self.request.id] = registry.is_fresh(self.request.id)
        return 1

    return job


def known():
    with db.session() as session:
        return set(session.scalars(select(TaskRecord.id)))


def test_a_task_is_known_before_it_runs(job, ran):
    registry.publish(job.s())
    assert ran == dict.fromkeys(known(), True)
    assert len(ran) == 1


def test_what_was_not_published_is_not_known(job, monkeypatch):
    """An id that nobody was told leaves no record behind."""

    def fail(*_args, **_options):
        raise OperationalError("down")

    monkeypatch.setattr(job, "apply_async", fail)
    with pytest.raises(UnreachableError):
        registry.publish(job.s())
    assert known() == set()


def test_an_id_is_kept_for_as_long_as_its_result(app, job):
    """It goes when its result is gone, and with room for a task that ended late."""
    registry.publish(job.s())
    old, older = app.extensions["settings"].result_expires, registry.grace().total_seconds()
    for seconds, left in (
        (old - 60, 1),
        (old + 60, 1),
        (old + older - 60, 1),
        (old + older + 60, 0),
    ):
        expires = datetime.now(UTC) + timedelta(seconds=old - seconds)
        with db.session() as session:
            session.execute(update(TaskRecord).values(expires_at=expires))
        assert registry.forget_expired() == 1 - left
        assert len(known()) == left


def test_a_finished_task_whose_result_is_gone_is_not_pending_for_ever(app, job):
    """After its time, an id without a result is a 404; one with a late result still answers."""
    client = app.test_client()
    ended, lost = registry.publish(job.s()).id, registry.publish(job.s()).id
    app.extensions["celery"].backend.forget(lost)
    assert client.get(f"/api/task-status/{lost}").get_json()["state"] == "PENDING"
    with db.session() as session:
        session.execute(update(TaskRecord).values(expires_at=datetime.now(UTC)))
    assert client.get(f"/api/task-status/{lost}").status_code == 404
    assert client.get(f"/api/task-status/{ended}").get_json()["state"] == "SUCCESS"


@pytest.mark.parametrize(
    ("state", "meta", "expected"),
    [
        ("STARTED", {"pid": 1}, {"status": "Task has started"}),
        ("PROGRESS", {"current": 3}, {"status": "Task is in progress", "progress": {"current": 3}}),
        ("RETRY", ValueError("no"), {"status": "Task is being retried", "error": "no"}),
        ("REVOKED", ValueError("no"), {"status": "Task was cancelled"}),
        ("FAILURE", ValueError("no"), {"status": "Task failed", "error": "no"}),
        ("SUCCESS", [1], {"status": "Task completed successfully", "result": [1]}),
        ("COOLING", None, {"status": "Task is COOLING"}),
    ],
)
def test_each_state_is_told_as_callers_expect(app, job, state, meta, expected):
    task_id = registry.publish(job.s()).id
    backend = app.extensions["celery"].backend
    backend.forget(task_id)
    backend.store_result(task_id, meta, state)
    answer = app.test_client().get(f"/api/task-status/{task_id}").get_json()
    assert answer == {"task_id": task_id, "state": state, **expected}
