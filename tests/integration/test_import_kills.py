"""An import that is killed, really, loses no row and keeps none twice."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
import pytest
from sqlalchemy import select

from app import create_app, db, settings
from app.models import Dataset
from app.services import importer
from tests.support import HOME, program_env, python, redis_server, wait_for
from tests.support.imports import fingerprint, with_bad_rows
from tests.support.parts import Parts

pytestmark = pytest.mark.integration

ROWS = 6_000

# Forked children import file after file, killed at random chunks, until there were 50 kills.
KILLED = """
import os, random, signal, sys
from pathlib import Path
from sqlalchemy import text
from app import create_app, db, settings
from app.services import datasets, importer
from tests.support.imports import fingerprint, with_bad_rows

loaded = settings.load()
db.upgrade(loaded)
app = create_app(loaded, role="client")
folder = Path(sys.argv[1])
chance = random.Random(50)
insert = datasets._insert
kills = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def run(path, size, commits, inside):
    left = [commits]
    def count(*_):
        left[0] -= 1
        if left[0] == 0:
            die()
    def insert_and_count(*args):
        insert(*args)
        count()
    if inside:
        datasets._insert = insert_and_count
    importer.run(path, path.name, size, (lambda *_: None) if inside else count)

def child(*args):
    pid = os.fork()
    if pid == 0:
        run(*args)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def newest():
    return datasets.newest_ids(1)[0]

def forget():
    with db.engine(loaded.database_url).begin() as connection:
        for name in ("dataset_bad_rows", "dataset_rows", "datasets"):
            connection.execute(text(f"DELETE FROM {name}"))

with app.app_context():
    while kills < 50:
        path = folder / "numbers.csv"
        path.write_text(with_bad_rows(100, f"of file {kills}"))
        importer.run(path, path.name, 1000, lambda *_: None)
        wanted = fingerprint(newest())
        forget()
        while child(path, chance.randint(5, 15), chance.randint(1, 4), chance.random() < 0.5):
            kills += 1
        if fingerprint(newest()) != wanted:
            sys.exit(f"differs after {kills} kills")
        forget()
print(kills)
"""


def test_imports_killed_fifty_times_at_random_chunks_end_as_if_never_killed(tmp_path, database):
    """With SIGKILL, before or after a chunk's commit; the tables are compared by their hash."""
    env = {"STATE_DIR": str(tmp_path / "state"), "OTEL_SDK_DISABLED": "1", "DATABASE_URL": database}
    done = subprocess.run(
        python("-c", KILLED, str(tmp_path)),
        env=program_env(env),
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= 50


@pytest.fixture
def parts(tmp_path, database):
    """Redis and a file to import; each test brings its workers."""
    (tmp_path / "state" / "imports").mkdir(parents=True)
    (tmp_path / "state" / "imports" / "numbers.csv").write_text(with_bad_rows(ROWS))
    with redis_server(tmp_path) as (_, url):
        env = {"DATABASE_URL": database, "CELERY_VISIBILITY_TIMEOUT": "3"}
        yield Parts(tmp_path, url, {**env, "CELERY_WORKER_CONCURRENCY": "1"})


@pytest.fixture
def client(parts):
    app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
    with app.app_context():
        yield app.test_client()


@pytest.fixture
def undisturbed(parts, client, new_database):
    """The hash of the table after an import that nothing has disturbed."""
    env = {"APP_ENV": "testing", **parts.env, "DATABASE_URL": new_database("sqlite")}
    path = parts.directory / "state" / "imports" / "numbers.csv"
    with create_app(settings.load(env)).app_context():
        importer.run(path, path.name, 1000, lambda *_: None)
        return fingerprint()


def begun(client):
    """The id of an import's task that is in the middle of its file."""
    document = {"file_path": "numbers.csv", "options": {"chunk_size": 10}}
    task_id = client.post("/api/import-csv", json=document).get_json()["task_id"]
    wait_for(lambda: status(client, task_id)["state"] == "PROGRESS", "the import has begun")
    return task_id


def status(client, task_id):
    return client.get(f"/api/task-status/{task_id}").get_json()


def committed():
    with db.session() as session:
        return session.scalar(select(Dataset.total_rows))


def ends_as_if_never_killed(client, task_id, undisturbed):
    assert 0 < committed() < ROWS
    wait_for(lambda: status(client, task_id)["state"] == "SUCCESS", "the import has ended", 30)
    result = status(client, task_id)["result"]
    bad = (ROWS + 8) // 9
    assert (result["total_rows"], result["processed"]) == (ROWS, ROWS - bad)
    assert (result["bad_rows"], len(result["errors"])) == (bad, 100)
    assert fingerprint() == undisturbed


def test_a_killed_pool_process_is_followed_by_one_that_goes_on(client, parts, undisturbed):
    """kill -9 in the middle of a real task: its message runs again, from the committed chunk."""
    with parts.worker() as worker:
        task_id = begun(client)
        psutil.Process(worker.pid).children()[0].kill()
        ends_as_if_never_killed(client, task_id, undisturbed)


def test_a_killed_worker_is_followed_by_one_that_goes_on(client, parts, undisturbed):
    """Its process group is gone at once; another worker is given what it held."""
    with parts.worker() as worker:
        task_id = begun(client)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    with parts.worker(name="second"):
        ends_as_if_never_killed(client, task_id, undisturbed)
