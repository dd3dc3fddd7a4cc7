"""The examples of good practice in a real worker: its queues, and its soft time limit."""

from __future__ import annotations

import pytest

from app import create_app, db, settings
from app.tasks import practice
from tests.support import redis_server
from tests.support.parts import Parts

pytestmark = pytest.mark.integration

# Takes some seconds: more than the soft limit, and less than the test may.
ITEMS = 600_000


@pytest.fixture(scope="module")
def _worker(tmp_path_factory):
    directory = tmp_path_factory.mktemp("practice")
    with redis_server(directory) as (_, url):
        parts = Parts(directory, url)
        loaded = settings.load({"APP_ENV": "testing", **parts.env})
        db.upgrade(loaded)
        app = create_app(loaded, role="client")
        with app.app_context(), parts.worker("-c", "1"):
            yield


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize("task", [practice.high_priority_task, practice.low_priority_task])
def test_each_queue_is_served(task):
    assert task.delay({"a": 1}).get(timeout=10) == {"status": "completed"}


@pytest.mark.usefixtures("_worker")
def test_a_task_at_its_soft_limit_keeps_what_it_has_done():
    """The next one goes on from there, and the digest is that of one run without a limit."""
    task, results = practice.time_limited_task, []
    while not results or results[-1]["status"] == "partial":
        limited = task.apply_async([ITEMS], soft_time_limit=1)
        results.append(limited.get(timeout=15))
    *partial, completed = results
    processed = [each["processed"] for each in results]
    assert partial
    assert processed == sorted(set(processed))
    assert completed == task.apply_async([ITEMS], soft_time_limit=60).get(timeout=30)
