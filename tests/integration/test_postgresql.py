"""The service on a real PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import OperationalError

from app import create_app, db, migrations, registry, settings
from app.models import Base, Source, TaskRecord
from app.services.etl import pipeline, records, runs, sources
from tests.support import HOME, free_port, program_env, python, running, wait_for
from tests.support.parts import MAIL
from tests.support.postgresql import needs_postgresql

pytestmark = [pytest.mark.integration, needs_postgresql]

IN_TIME = 2.0  # seconds
PROCESSES = 3
MIGRATE = "from app import db, settings; db.upgrade(settings.load())"


@pytest.fixture
def make_app(tmp_path):
    def make(**environ):
        env = {
            "APP_ENV": "testing",
            "STATE_DIR": str(tmp_path / "state"),
            "CELERY_BROKER_URL": "memory://",
            "CELERY_RESULT_BACKEND": "cache+memory://",
            "OTEL_TRACES_EXPORTER": "none",
            "FOLLOWTHROUGH_STRICT": "1",
        }
        return create_app(settings.load({**env, **environ}))

    return make


@pytest.fixture
def app(make_app, database_url):
    app = make_app(DATABASE_URL=database_url)
    with app.app_context():
        yield app


def test_the_migrations_make_what_the_models_say(tmp_path, database_url):
    """From an empty database, and a second time without a change."""
    loaded = settings.load({"STATE_DIR": str(tmp_path), "DATABASE_URL": database_url})
    for _ in range(2):
        db.upgrade(loaded)
        with db.engine(database_url).connect() as connection:
            assert migrations.current(connection) == migrations.HEAD
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, Base.metadata) == []


def test_processes_on_several_machines_migrate_one_after_the_other(tmp_path, database_url):
    """They share no directory whose lock could order them, and all wait for the same lock."""
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [migrations.LOCK])
        started = [migrating(tmp_path / str(n), database_url) for n in range(PROCESSES)]
        with psycopg.connect(database_url, autocommit=True) as other:
            wait_for(lambda: waiting(other) == PROCESSES, "all wait for the lock", 60)
    ends = [(each.communicate(timeout=60)[1], each.returncode) for each in started]
    assert [code for _, code in ends] == [0] * PROCESSES, ends
    with db.engine(database_url).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1


def migrating(state, url):
    env = program_env({"STATE_DIR": str(state), "DATABASE_URL": url})
    return subprocess.Popen(python("-c", MIGRATE), env=env, cwd=HOME, stderr=subprocess.PIPE)


def waiting(connection):
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return connection.execute(locks).fetchone()[0]


def test_an_id_is_remembered_until_it_is_forgotten_or_expires(app):
    registry.remember(["kept", "dropped", "old", "late"], "test", "root")
    registry.forget(["dropped"])
    expire("old", registry.grace() + timedelta(seconds=60))
    expire("late", registry.grace() - timedelta(seconds=60))
    assert [registry.is_fresh(each) for each in ("kept", "dropped", "old")] == [True, None, False]
    assert registry.forget_expired() == 1
    with db.session() as session:
        assert set(session.scalars(select(TaskRecord.id))) == {"kept", "late"}


def expire(task_id, ago):
    gone = update(TaskRecord).where(TaskRecord.id == task_id)
    with db.session() as session:
        session.execute(gone.values(expires_at=datetime.now(UTC) - ago))


def test_mail_is_taken_and_its_status_told(app):
    client = app.test_client()
    sent = client.post("/api/send-email", json=MAIL)
    assert sent.status_code == 202
    assert client.get(sent.location).get_json()["state"] == "PENDING"
    assert client.get("/api/task-status/unknown").status_code == 404
    assert client.get("/api/ready").status_code == 200


def test_a_server_that_is_stopped_is_a_503_in_time_until_it_is_back(app, postgresql):
    """Connections that the old server closed are replaced without failing a request."""
    client = app.test_client()
    sent = client.post("/api/send-email", json=MAIL)
    postgresql.stop()
    try:
        refused(client, "POST", "/api/send-email", json=MAIL)
        refused(client, "GET", sent.location)
        refused(client, "GET", "/api/ready")
        assert client.get("/api/health").status_code == 200
    finally:
        postgresql.start()
    assert client.get(sent.location).get_json()["state"] == "PENDING"
    assert client.post("/api/send-email", json=MAIL).status_code == 202


def test_a_restart_between_two_requests_is_not_noticed(app, postgresql):
    """A connection from before is replaced before a request uses it."""
    client = app.test_client()
    sent = client.post("/api/send-email", json=MAIL)
    postgresql.stop()
    postgresql.start()
    assert client.get(sent.location).status_code == 200


def test_a_silent_server_is_a_503_in_time_until_it_answers(app, postgresql):
    """It was used before, and takes what is sent; psycopg by itself would wait for ever."""
    client = app.test_client()
    sent = client.post("/api/send-email", json=MAIL)
    with postgresql.paused():
        refused(client, "GET", sent.location)
    assert client.get(sent.location).get_json()["state"] == "PENDING"


def test_a_server_that_falls_silent_in_a_transaction_is_given_up(app):
    """And the connection with it, whose late answer would be taken for another's."""
    start = time.monotonic()
    with (
        pytest.raises(OperationalError, match="did not answer"),
        db.session() as session,
    ):
        session.execute(text("SELECT pg_sleep(30)"))
    assert time.monotonic() - start < IN_TIME
    assert registry.is_fresh("unknown") is None


def refused(client, method, path, **options):
    """A 503 problem with Retry-After, in time."""
    start = time.monotonic()
    answer = client.open(path, method=method, **options)
    assert time.monotonic() - start < IN_TIME
    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["error"] == "The database does not answer."
    assert int(answer.headers["Retry-After"]) >= 1


def test_in_production_the_web_process_starts_without_a_database(make_app):
    """There another step migrates; the process waits for the database by answering 503."""
    url = f"postgresql://app:hunter2@127.0.0.1:{free_port()}/app"
    app = make_app(APP_ENV="production", SECRET_KEY="a-secret-of-its-own", DATABASE_URL=url)
    refused(app.test_client(), "POST", "/api/send-email", json=MAIL)


def test_the_migrate_command_ends_with_one_clear_line(make_app):
    url = f"postgresql://app:hunter2@127.0.0.1:{free_port()}/app"
    app = make_app(APP_ENV="production", SECRET_KEY="a-secret-of-its-own", DATABASE_URL=url)
    done = app.test_cli_runner().invoke(args=["migrate"])
    assert done.exit_code == 1
    told_in_one_line(done.output, url)


def test_a_web_process_that_must_migrate_ends_with_one_clear_line(tmp_path):
    """Gunicorn ends with it and doesn't try again for ever."""
    url = f"postgresql://app:hunter2@127.0.0.1:{free_port()}/app"
    env = {"DATABASE_URL": url, "STATE_DIR": str(tmp_path), "PORT": str(free_port())}
    with running(python("-m", "gunicorn", "run:app"), tmp_path / "web.log", env) as web:
        assert web.wait(60) == 3, web.output()
    told_in_one_line(web.output(), url)


def told_in_one_line(output, url):
    """What is wrong and what to do, without a traceback or a password."""
    assert "hunter2" not in output
    assert "Traceback" not in output
    [line] = [line for line in output.splitlines() if "DATABASE_URL" in line]
    assert f"{url.partition('@')[2]} does not open (" in line
    assert "Connection refused" in line
    assert line.endswith("start that database, or name another")


def test_a_run_over_a_source_keeps_each_row_once(app):
    """The same rows as in SQLite; what a later run has written stays."""
    assert [each.id for each in sources.enabled()] == [1, 2, 3]
    rows = [{"id": number, "name": "old"} for number in range(2500)]
    rows += [{"id": "nul\0"}, {"id": "\ud800"}]
    folder = app.extensions["settings"].import_dir
    folder.mkdir(parents=True)
    (folder / "rows.json").write_text(json.dumps(rows))
    now = datetime.now(UTC)
    shared = {"enabled": True, "created_at": now, "updated_at": now}
    with db.session() as session:
        values = {"name": "rows", "kind": "file", "location": "rows.json", "options": {"key": "id"}}
        source = session.scalar(insert(Source).values(**values, **shared).returning(Source.id))
    assert source == 4
    pipeline.fetch(source, "old")
    assert pipeline.validate("old")["valid_records"] == 2500
    pipeline.transform("old")
    (folder / "rows.json").write_text('[{"id": 7, "name": "new"}]')
    assert pipeline.sync(source, "new") == 1
    for _ in range(2):
        assert pipeline.save("old")["saved_records"] == 2500
    assert records.counts()[source] == 2500
    [(key, data, run, _)] = records.page(source, "699", 1)
    assert (key, data["name"], run) == ("7", "new", "new")
    assert runs.last()[source].id == "new"
    assert app.test_client().get("/api/sources").status_code == 200
    assert pipeline.tidy(datetime.now(UTC)) == 0
