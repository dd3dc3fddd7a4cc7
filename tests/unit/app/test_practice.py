"""The examples of good practice do what they show, also when they run twice."""

from __future__ import annotations

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import select

from app import db, settings
from app.models import Checkpoint, Item, Record
from app.services import checkpoints, records
from app.tasks import practice
from tests.support import free_port

pytestmark = pytest.mark.usefixtures("eager_app")


def rows(*columns):
    with db.session() as session:
        return [tuple(row) for row in session.execute(select(*columns))]


def test_an_update_says_when_it_was_made_before():
    update = practice.idempotent_update
    assert update.apply(["a", 1]).get() == {"status": "updated", "record_id": "a"}
    assert update.apply(["a", 1]).get() == {"status": "already_updated", "record_id": "a"}
    assert update.apply(["a", 2]).get() == {"status": "updated", "record_id": "a"}
    assert rows(Record.id, Record.value, Record.version) == [("a", "2", 2)]


def test_a_record_made_meanwhile_with_another_value_is_changed(monkeypatch):
    changed = records._changed
    outcomes = iter([False])
    records.put("a", 1)
    monkeypatch.setattr(records, "_changed", lambda *args: next(outcomes, None) or changed(*args))
    assert records.put("a", 2) is True


@pytest.mark.parametrize("wrong", ["", "a\0b", "x" * 256, "\ud800"])
def test_an_id_that_can_t_be_kept_fails_by_its_name(wrong):
    ended = practice.idempotent_update.apply([wrong, 1]).result
    assert str(ended).startswith("record_id: ")
    assert ended.details == {"retryable": False}
    assert str(practice.process_single_item.apply([wrong]).result).startswith("item_id: ")


def test_an_item_is_processed_once():
    first = practice.process_single_item.apply([7]).get()
    assert first == {"item_id": 7, "status": "processed"}
    before = rows(Item.id, Item.processed_at)
    assert practice.process_single_item.apply([7]).get() == first
    assert rows(Item.id, Item.processed_at) == before
    assert records.process(7) is False


@pytest.mark.parametrize("task", [practice.high_priority_task, practice.low_priority_task])
def test_a_task_of_a_queue_keeps_its_data_once(task):
    for _ in range(2):
        assert task.apply([{"a": 1}], task_id="id").get() == {"status": "completed"}
    assert rows(Record.id, Record.value, Record.version) == [(f"{task.name}:id", '{"a": 1}', 1)]


def limit_after(monkeypatch, steps):
    """The soft limit comes while this step is made."""
    real, left = checkpoints.step, [steps]

    def step(*args):
        left[0] -= 1
        if left[0] < 0:
            raise SoftTimeLimitExceeded
        return real(*args)

    monkeypatch.setattr(checkpoints, "step", step)


@pytest.mark.parametrize("data", [10, list("abcdefghij")])
def test_a_limited_task_goes_on_where_it_was(monkeypatch, data):
    task = practice.time_limited_task
    whole = task.apply([data]).get()
    assert (whole["status"], whole["processed"]) == ("completed", 10)
    for processed in (4, 8):
        with monkeypatch.context() as patch:
            limit_after(patch, 4)
            assert task.apply([data]).get() == {
                "status": "partial",
                "message": "Time limit reached",
                "processed": processed,
            }
    assert task.apply([data]).get() == whole
    assert rows(Checkpoint.id) == []


def test_a_slower_run_takes_nothing_back():
    checkpoints.save("key", checkpoints.State(5, "five"))
    checkpoints.save("key", checkpoints.State(3, "three"))
    assert checkpoints.load("key") == (5, "five")


def test_a_limited_task_has_the_limits_that_it_tells():
    task = practice.time_limited_task
    assert (task.soft_time_limit, task.time_limit) == (240, 300)


@pytest.mark.parametrize("data", [None, "ab", True, -1, 10**9 + 1, 1.5, {}])
def test_data_without_items_are_refused(data):
    ended = practice.time_limited_task.apply([data]).result
    assert str(ended).startswith("data: ")


def test_what_works_succeeds():
    given = practice.graceful_failure_task.apply([{"id": "a", "value": 1}]).get()
    assert given == {"status": "success", "result": {"record_id": "a", "updated": True}}


@pytest.mark.parametrize("data", [None, [], {}, {"id": 1}, {"id": "", "value": 1}])
def test_a_known_mistake_is_told_and_not_tried_again(data):
    given = practice.graceful_failure_task.apply([data]).get()
    assert given.pop("error")
    assert given == {"status": "failed", "retry": False}


def test_a_lost_connection_is_tried_again(eager_app, monkeypatch):
    away = f"postgresql://user:hidden@127.0.0.1:{free_port()}/app"
    env = {"APP_ENV": "testing", "DATABASE_URL": away}
    monkeypatch.setitem(eager_app.extensions, "settings", settings.load(env))
    task, pauses = practice.graceful_failure_task, []
    retry = task.retry
    monkeypatch.setattr(task, "retry", lambda **kw: pauses.append(kw["countdown"]) or retry(**kw))
    error = task.apply([{"id": "a", "value": 1}]).result
    assert error.details == {"retryable": True, "retries_exhausted": True}
    assert pauses == [1, 2, 4, 8, 16]


def test_an_unexpected_error_is_logged_and_not_told(monkeypatch, caplog):
    def broken(*_args):
        raise LookupError("the secret")

    monkeypatch.setattr(records, "put", broken)
    given = practice.graceful_failure_task.apply([{"id": "a", "value": 1}]).get()
    assert given == {"status": "failed", "error": "Internal error"}
    assert any(record.exc_info and "tasks.graceful" in record.message for record in caplog.records)
