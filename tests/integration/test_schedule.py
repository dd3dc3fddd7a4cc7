"""Beat, workers and what they leave: one run a period, whoever sends its tick."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from app import create_app, db, settings, timetable
from app.models import PeriodRun
from app.schedule import HEADER
from app.services import periods, runs, sessions
from app.tasks import periodic
from tests.support import HOME, program_env, python, redis_server, running, wait_for
from tests.support.jobs import noted
from tests.support.parts import MailServer, Parts
from tests.support.postgresql import needs_postgresql

pytestmark = pytest.mark.integration

FAST = "tests.support.fastbeat"
TASK = "tasks.generate_daily_report"


@pytest.fixture
def parts(tmp_path):
    with redis_server(tmp_path) as (_, url), MailServer() as mail:
        env = {"SMTP_URL": mail.url, "REPORT_RECIPIENTS": "ada@example.com"}
        parts = Parts(tmp_path, url, env)
        parts.mail = mail
        db.upgrade(settings.load(parts.env))
        yield parts


@contextlib.contextmanager
def beat(parts, name, target=FAST):
    """A beat with a schedule file of its own, as on another host."""
    argv = python("-m", "celery", "-A", target, "beat", "-s", str(parts.directory / name))
    with running(argv, parts.directory / f"{name}.log", parts.env) as program:
        yield program


def logged(program, event, task):
    """The log lines of this event about a task."""
    lines = [json.loads(line) for line in program.output().splitlines() if line.startswith("{")]
    return [each for each in lines if (each.get("event"), each.get("task")) == (event, task)]


def runs_of(parts, task):
    path = parts.directory / "state" / "app.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT period, status FROM period_runs WHERE name = ?"
        return connection.execute(query, (task,)).fetchall()


def shown(parts):
    """The schedule command's rows by entry."""
    argv = python("-m", "app", "schedule")
    env = program_env(parts.env)
    ended = subprocess.run(argv, cwd=HOME, env=env, capture_output=True, text=True, check=True)
    head, *lines = ended.stdout.splitlines()
    names = ["ENTRY", "SCHEDULE", "LAST SENT", "LAST DONE", "NEXT DUE"]
    starts = [head.index(name) for name in names]
    ends = [*starts[1:], None]
    cells = [
        [line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines
    ]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cells}


def test_two_beats_make_one_run_a_period(parts):
    """The report of a day is made and mailed once, and each tick is answered."""
    before = periods.day_before(datetime.now(UTC), UTC).name
    with (
        parts.worker("-Q", "default,email", target=FAST) as worker,
        beat(parts, "one"),
        beat(parts, "two"),
    ):
        wait_for(lambda: len(logged(worker, "task.succeeded", TASK)) > 5, "ticks are answered", 30)
        wait_for(lambda: parts.mail.mails, "the report is mailed")
        wait_for(
            lambda: logged(worker, "task.succeeded", "tasks.cleanup_expired_sessions"), "cleanup"
        )
    after = periods.day_before(datetime.now(UTC), UTC).name
    days = [before] if before == after else [before, after]
    assert sorted(runs_of(parts, TASK)) == [(day, "done") for day in days]
    assert len(parts.mail.mails) == len(days)


def test_what_was_sent_is_shown_at_once(parts):
    """Beat writes its file with each tick, so that one which is killed then sends none twice."""
    argv = python("-m", "celery", "-A", FAST, "beat")
    with running(argv, parts.directory / "beat.log", parts.env) as program:
        sent = wait_for(lambda: when_sent(parts, "cleanup-expired-sessions"), "it is shown as sent")
        wait_for(lambda: when_sent(parts, "cleanup-expired-sessions") > sent, "and again")
        program.signal(signal.SIGKILL)
        program.wait()


def when_sent(parts, entry):
    """When an entry was last sent, by beat's file; None if it never was."""
    return (timetable.sent(parts.directory / "state") or {}).get(entry)


def test_a_killed_beat_goes_on_with_a_broken_file(parts):
    """After a power cut the schedule's file may hold anything."""
    path = parts.directory / "state" / "celerybeat-schedule"
    argv = python("-m", "celery", "-A", "app.worker", "beat")
    log = parts.directory / "beat.log"
    with running(argv, log, {**parts.env, "FOLLOWTHROUGH_LOG_LEVEL": "debug"}) as program:
        wait_for(lambda: "Waking up in" in program.output(), "beat has set itself up")
        assert shown(parts)["forget-expired-tasks"]["LAST SENT"] == "never"
        program.signal(signal.SIGKILL)
        program.wait()
    for file in path.parent.glob(f"{path.name}*"):
        file.write_bytes(b"\x80broken\0" * 7)
    assert {row["LAST SENT"] for row in shown(parts).values()} == {"unknown"}
    with running(argv, log, {**parts.env, "FOLLOWTHROUGH_LOG_LEVEL": "debug"}) as program:
        wait_for(lambda: program.output().count("Waking up in") > 1, "beat has started anew")
        assert "Removing corrupted schedule file" in program.output()


@pytest.mark.parametrize("target", [FAST, "run.celery"])
def test_a_worker_with_beat(parts, target):
    """For development one process does both; here with the fast schedule, and the real one."""
    with parts.worker("--beat", "-Q", "default,email", target=target) as worker:
        wait_for(lambda: "beat: Starting" in worker.output(), "beat runs within")
        if target == FAST:
            wait_for(lambda: logged(worker, "task.succeeded", TASK), "a tick is answered")
            wait_for(lambda: parts.mail.mails, "the report is mailed")
    assert worker.popen.returncode == 0
    rows = shown(parts)
    ran = rows["generate-daily-report"]["LAST DONE"] != "never"
    assert ran == (target == FAST)


def test_a_killed_run_is_taken_up_by_its_redelivered_message(parts):
    """kill -9 of the pool process in the middle: the same task does it again, without a lease."""
    parts.env["TEST_DIRECTORY"] = str(parts.directory)
    options = ("-Q", "default,email", "--include", "tests.support.heldreports")
    with parts.worker(*options, target=FAST) as worker:
        with beat(parts, "one"):
            (pid,) = wait_for(lambda: noted(parts.directory, "held"), "the report is in hand", 30)
            wait_for(lambda: logged(worker, "task.succeeded", TASK), "another leaves it alone")
        os.kill(int(pid), signal.SIGKILL)
        (parts.directory / "go").touch()
        wait_for(lambda: parts.mail.mails, "the report is mailed", 30)
        wait_for(lambda: [each[1] for each in runs_of(parts, TASK)] == ["done"], "it is done")
    assert len(noted(parts.directory, "held")) == 2
    assert len(parts.mail.mails) == 1


def test_many_at_the_same_moment_do_it_once(tmp_path, database):
    """The claim is the database's, so it holds between processes and hosts."""
    env = {
        "APP_ENV": "testing",
        "STATE_DIR": str(tmp_path),
        "DATABASE_URL": database,
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "OTEL_TRACES_EXPORTER": "none",
    }
    app, done = create_app(settings.load(env)), []
    period = periods.day_before(datetime.now(UTC), UTC)

    def work():
        done.append(1)
        return {"n": len(done)}

    def once(number):
        with app.app_context():
            return runs.once("tasks.x", period, f"t{number}", work)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(once, range(8)))
    assert done == [1]
    skipped = {"status": "skipped", "period": period.name}
    assert {"n": 1} in results
    assert all(each in ({"n": 1}, skipped) for each in results)
    assert once("later") == {"n": 1}
    with app.app_context(), db.session() as session:
        assert session.scalar(select(func.count()).select_from(PeriodRun)) == 1


@needs_postgresql
def test_the_tasks_on_postgresql(tmp_path, database_url):
    """Their rows and queries work there too, each task once a period."""
    env = {
        "APP_ENV": "testing",
        "STATE_DIR": str(tmp_path),
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "CELERY_TASK_ALWAYS_EAGER": "true",
        "OTEL_TRACES_EXPORTER": "none",
    }
    tick = {HEADER: "2026-11-24T00:00:00+00:00"}
    tasks = [
        periodic.sync_external_data,
        periodic.generate_daily_report,
        periodic.send_weekly_digest,
        periodic.generate_monthly_report,
        periodic.cleanup_expired_sessions,
    ]
    with create_app(settings.load(env)).app_context():
        token, _ = sessions.create("ada", timedelta(hours=1), {"a": "\0"})
        sessions.create("old", -timedelta(hours=1), {})
        results = [task.apply(headers=tick).get() for task in tasks]
        assert results[-1] == {"cleaned": 1}
        assert [task.apply(headers=tick).get() for task in tasks] == results
        assert sessions.find(token).data == {"a": "\0"}
    done = timetable.done(database_url)
    assert set(done) == {task.name for task in tasks}
    assert all(datetime.now(UTC) - at < timedelta(minutes=1) for at in done.values())
