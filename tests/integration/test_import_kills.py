"""An import that is killed, really, loses no row and keeps none twice."""

from __future__ import annotations

import sqlite3
import subprocess

import psutil
import pytest

from tests.support import HOME, free_port, program_env, python, redis_server, wait_for
from tests.support.parts import Parts

pytestmark = pytest.mark.integration

# Forked children import file after file, killed at random chunks, until there were 50 kills.
KILLED = """
import hashlib, os, random, signal, sys
from pathlib import Path
from sqlalchemy import text
from app import create_app, db, settings
from app.services import datasets, importer

loaded = settings.load()
db.upgrade(loaded)
app = create_app(loaded, role="client")
folder = Path(sys.argv[1])
chance = random.Random(50)
insert = datasets._insert
kills = 0

def numbers(file):
    rows = (f'{n},"of file {file}\\n{n}"\\n' if n % 9 else f"{n}\\n" for n in range(100))
    return "id,text\\n" + "".join(rows)

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

def table(data_id):
    query = text("SELECT line, data FROM dataset_rows WHERE dataset_id = :id ORDER BY line")
    counts = text("SELECT total_rows, bad_rows, status FROM datasets WHERE id = :id")
    with db.engine(loaded.database_url).connect() as connection:
        rows = [tuple(row) for row in connection.execute(query, {"id": data_id})]
        rows += [tuple(row) for row in connection.execute(counts, {"id": data_id})]
        bad = text("SELECT line, reason FROM dataset_bad_rows WHERE dataset_id = :id ORDER BY line")
        rows += [tuple(row) for row in connection.execute(bad, {"id": data_id})]
    return hashlib.sha256(repr(rows).encode()).hexdigest()

def forget():
    with db.engine(loaded.database_url).begin() as connection:
        for name in ("dataset_bad_rows", "dataset_rows", "datasets"):
            connection.execute(text(f"DELETE FROM {name}"))

with app.app_context():
    while kills < 50:
        path = folder / "numbers.csv"
        path.write_text(numbers(kills))
        importer.run(path, path.name, 1000, lambda *_: None)
        wanted = table(1)
        forget()
        while child(path, chance.randint(5, 15), chance.randint(1, 4), chance.random() < 0.5):
            kills += 1
        if table(1) != wanted:
            sys.exit(f"differs after {kills} kills")
        forget()
print(kills)
"""


def test_imports_killed_fifty_times_at_random_chunks_end_as_if_never_killed(tmp_path):
    """With SIGKILL, before or after a chunk's commit; the tables are compared by their hash."""
    env = program_env({"STATE_DIR": str(tmp_path / "state"), "OTEL_SDK_DISABLED": "1"})
    done = subprocess.run(
        python("-c", KILLED, str(tmp_path)),
        env=env,
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= 50


def test_a_worker_s_killed_process_is_followed_by_one_that_goes_on(tmp_path):
    """kill -9 in the middle of a real task: its message runs again, from the committed chunk."""
    state = tmp_path / "state"
    (state / "imports").mkdir(parents=True)
    rows = 6_000
    content = "id,text\n" + "".join(f"{n},some text {n}\n" for n in range(rows))
    (state / "imports" / "numbers.csv").write_text(content)
    with redis_server(tmp_path, port=free_port()) as (_, url):
        parts = Parts(tmp_path, url)
        with parts.web(), parts.worker("-c", "1") as worker:
            body = {"file_path": "numbers.csv", "chunk_size": 10}
            task_id = parts.post("/api/import-csv", body).body["task_id"]
            wait_for(lambda: parts.state(task_id) == "PROGRESS", "the import has begun")
            pool = psutil.Process(worker.pid).children()[0]
            pool.kill()
            before = committed(state)
            wait_for(lambda: parts.state(task_id) == "SUCCESS", "the import has ended", 30)
            result = parts.status(task_id).body["result"]
    assert 0 < before < rows
    assert (result["total_rows"], result["processed"], result["errors"]) == (rows, rows, [])
    with sqlite3.connect(state / "app.db") as connection:
        found = connection.execute("SELECT line FROM dataset_rows ORDER BY line").fetchall()
    connection.close()
    assert [line for (line,) in found] == list(range(2, rows + 2))


def committed(state):
    connection = sqlite3.connect(state / "app.db")
    (count,) = connection.execute("SELECT total_rows FROM datasets").fetchone()
    connection.close()
    return count
