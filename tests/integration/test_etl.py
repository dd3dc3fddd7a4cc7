"""Runs over sources by real workers, with a real server to fetch from."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import psutil
import pytest
from sqlalchemy import insert, select

from app import create_app, db, registry, settings
from app.models import Source, SourceRecord
from app.services.etl import pipeline, runs, staging
from tests.support import HOME, redis_server, wait_for
from tests.support.jobs import noted
from tests.support.parts import Parts

pytestmark = pytest.mark.integration

ROWS = [{"id": number, "name": f" name {number} "} for number in range(2500)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    directory = tmp_path_factory.mktemp("etl")
    with redis_server(directory) as (_, url):
        yield Parts(directory, url)


@pytest.fixture(scope="module")
def app(parts):
    """The tables, and a client of the API."""
    app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
    with app.app_context():
        yield app


@pytest.fixture(scope="module")
def worker(parts, app):
    with parts.web(), parts.worker("-c", "2") as worker:
        yield worker


def new_source(location, kind="http_json", **options):
    now = datetime.now(UTC)
    values = {"location": location, "kind": kind, "enabled": True}
    values |= {"options": {"key": "id", **options}, "created_at": now, "updated_at": now}
    with db.session() as session:
        name = f"source {len(session.scalars(select(Source.id)).all())}"
        return session.scalar(insert(Source).values(name=name, **values).returning(Source.id))


def started(app, path, **body):
    answer = app.test_client().post(f"/api/etl/{path}", json=body)
    assert answer.status_code == 202, answer.get_json()
    return answer.get_json()["task_id"]


def ended(app, task_id, state="SUCCESS"):
    result = app.extensions["celery"].AsyncResult(task_id)
    wait_for(result.ready, f"{task_id} ends", 30)
    assert result.state == state, result.result
    return result.result


def keys(source_id):
    with db.session() as session:
        wanted = select(SourceRecord.key).where(SourceRecord.source_id == source_id)
        return list(session.scalars(wanted))


def test_a_source_is_fetched_and_saved(app, worker, httpserver):
    httpserver.expect_request("/rows").respond_with_json({"rows": [*ROWS, {"id": 1}, {}]})
    source = new_source(httpserver.url_for("/rows"), list="rows")
    result = ended(app, started(app, f"single/{source}"))
    assert (result["records"], result["valid_records"], result["saved_records"]) == (
        2502,
        2500,
        2500,
    )
    assert len(keys(source)) == 2500
    assert not staging._folder(result["run"]).exists()


def test_the_samples_need_nothing_but_the_service(app, worker):
    """One of them is fetched from the web process itself."""
    result = ended(app, started(app, "parallel", source_ids=[1, 2, 3]))
    assert result["sources"] == [1, 2, 3]
    assert result["total_sources"] == 3
    assert result["total_records"] == sum(len(keys(each)) for each in (1, 2, 3)) == 48


def test_one_source_alone_is_summed_up_too(app, worker):
    result = ended(app, started(app, "parallel", source_ids=[1]))
    assert result == {"total_sources": 1, "total_records": 16, "sources": [1]}


def test_a_group_has_a_result_a_source(app, worker):
    task_id = started(app, "group", source_ids=[1, 2])
    ids = [each for each in registry.sent_by(task_id) if each != task_id]
    results = [ended(app, each) for each in ids]
    assert [(each["source_id"], each["records"]) for each in results] == [(1, 16), (2, 12)]


def test_a_source_that_fails_lets_the_others_save_and_the_sum_fail(app, worker, httpserver):
    """The sum is not pending for ever, and neither are the steps that come to nothing."""
    httpserver.expect_request("/none").respond_with_data("", 404)
    failing = new_source(httpserver.url_for("/none"))
    other = new_source("cities.csv", "file", folder="samples")
    with db.session() as session:
        session.get(Source, other).options = {"folder": "samples", "key": "code"}
    task_id = started(app, "parallel", source_ids=[failing, other])
    error = ended(app, task_id, "FAILURE")
    assert "HTTP 404" in str(error)
    wait_for(lambda: len(keys(other)) == 16, "the other source is saved")
    for each in registry.sent_by(task_id):
        wait_for(app.extensions["celery"].AsyncResult(each).ready, f"{each} ends")
    assert runs.last()[failing].error == "HTTP 404"


def test_a_source_in_trouble_is_asked_again(app, worker, httpserver):
    headers = {"Retry-After": "0"}
    httpserver.expect_ordered_request("/").respond_with_data("", 503, headers=headers)
    httpserver.expect_ordered_request("/").respond_with_json(ROWS[:3])
    result = ended(app, started(app, f"single/{new_source(httpserver.url_for('/'))}"))
    assert result["saved_records"] == 3


# A worker whose save waits, after its first chunk, until the test lets go.
HOLDING = """
import os
from pathlib import Path
from app.services.etl import records
from app.worker import celery, flask_app
from tests.support import wait_for
from tests.support.jobs import note

directory = Path(flask_app.extensions["settings"].state_dir).parent
save = records.save

def held(*args):
    saved = save(*args)
    note(str(directory), "saving", os.getpid())
    wait_for((directory / "go").exists, "the test lets go", 60)
    return saved

records.save = held
"""


def test_a_save_that_is_killed_runs_again_and_leaves_each_row_once(tmp_path, httpserver):
    """kill -9 of the process after its first committed chunk."""
    (tmp_path / "holding.py").write_text(HOLDING)
    httpserver.expect_request("/").respond_with_json(ROWS)
    with redis_server(tmp_path) as (_, url):
        parts = Parts(
            tmp_path,
            url,
            {"PYTHONPATH": os.pathsep.join(map(str, [tmp_path, HOME / "telemetry", HOME]))},
        )
        app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
        with app.app_context(), parts.worker("-c", "1", target="holding"):
            source = new_source(httpserver.url_for("/"))
            task_id = started(app, f"single/{source}")
            [pid] = wait_for(lambda: noted(tmp_path, "saving"), "the first chunk is saved")
            assert len(keys(source)) == pipeline.CHUNK
            psutil.Process(int(pid)).kill()
            (tmp_path / "go").touch()
            result = ended(app, task_id)
            assert result["saved_records"] == len(ROWS)
            found = keys(source)
    assert sorted(found, key=int) == [str(row["id"]) for row in ROWS]
    assert len(httpserver.log) == 1
