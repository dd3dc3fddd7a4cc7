"""Reports made by a real worker, of the rows of a real PostgreSQL, and by processes that die."""

from __future__ import annotations

import urllib.request

import psutil
import pytest

from app import create_app, settings
from app.services.reports import make, store
from tests.support import redis_server, wait_for
from tests.support.parts import Parts
from tests.support.pdf import texts
from tests.support.postgresql import needs_postgresql
from tests.support.reports import NOVEMBER, add, fill, payment

pytestmark = pytest.mark.integration


@pytest.fixture
def make_app(tmp_path):
    def make_app(**environ):
        env = {
            "APP_ENV": "testing",
            "STATE_DIR": str(tmp_path / "state"),
            "CELERY_BROKER_URL": "memory://",
            "CELERY_RESULT_BACKEND": "cache+memory://",
            "OTEL_TRACES_EXPORTER": "none",
            "FOLLOWTHROUGH_STRICT": "1",
        }
        return create_app(settings.load({**env, **environ}))

    return make_app


@needs_postgresql
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Europe/Berlin"])
def test_a_report_says_the_same_from_either_database(make_app, database_url, zone):
    """Each text of it, also of days that begin at half past and of hours that come twice."""
    wanted = (
        ("monthly_summary", {"month": "2026-11"}),
        ("daily_summary", {"date": "2026-10-25"}),
        ("payments", {**NOVEMBER, "currency": "USD"}),
    )
    said = []
    for url in ({}, {"DATABASE_URL": database_url}):
        with make_app(TIMEZONE=zone, **url).app_context():
            fill()
            hours = (f"2026-10-{day} {hour:02}:45" for day in (24, 25) for hour in range(24))
            add(payment(f"H-{at}".replace(" ", "-"), "99999999999999.99", at=at) for at in hours)
            made = [make(kind, parameters, kind) for kind, parameters in wanted]
            said.append([without_now(texts(store.path(each).read_bytes())) for each in made])
            for report in made:
                store.path(report).unlink()
    assert said[0] == said[1]
    assert "A-2" in said[0][0]


def without_now(said):
    return [each for each in said if not each.startswith("Asked for:")]


def test_a_worker_s_killed_process_leaves_one_report(tmp_path):
    """kill -9 while it is drawn: its message runs again and makes the file of the same name."""
    with redis_server(tmp_path) as (_, url):
        parts = Parts(tmp_path, url, {"TEST_DIRECTORY": str(tmp_path)})
        held = ("--include", "tests.support.heldreports")
        with parts.web(), parts.worker("-c", "1", *held) as worker:
            body = {"report_type": "payments", "parameters": NOVEMBER}
            answer = parts.post("/api/generate-report", body)
            task_id = answer.body["task_id"]
            wait_for((tmp_path / "held").exists, "the report is drawn")
            report_url = f"/api/reports/{task_id}"
            assert parts.get(report_url).status == 409
            psutil.Process(worker.pid).children()[0].kill()
            (tmp_path / "go").touch()
            wait_for(lambda: parts.state(task_id) == "SUCCESS", "the report is made", 30)
            result = parts.status(task_id).body["result"]
            with urllib.request.urlopen(f"http://127.0.0.1:{parts.port}{report_url}") as reply:
                assert reply.read().startswith(b"%PDF-")
        folder = tmp_path / "state" / "files"
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files == [folder / result["file_path"]]
        assert len((tmp_path / "held").read_text().splitlines()) == 2
