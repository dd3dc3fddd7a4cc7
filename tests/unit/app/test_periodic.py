"""The periodic tasks: each does its work once a period, killed, repeated or sent twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from threading import Event

import pytest
from sqlalchemy import func, select, update

from app import db, registry
from app.models import PeriodRun, Report, SessionRecord
from app.schedule import HEADER, SCHEDULE
from app.services import periods, runs, sessions, subscribers
from app.services.etl import pipeline, sources
from app.services.failures import JobFailedError
from app.services.http_client import RefusedError, UnavailableError
from app.tasks import periodic
from tests.support.reports import fill

HOUR = timedelta(hours=1)
MONDAY = "2026-11-23T09:00:00+00:00"
MIDNIGHT = "2026-11-24T00:00:00+00:00"
PERIODS = [
    (periodic.cleanup_expired_sessions, "2026-11-24T00:00+0000"),
    (periodic.sync_external_data, "2026-11-24T00+0000"),
    (periodic.generate_daily_report, "2026-11-23"),
    (periodic.send_weekly_digest, "2026-W47"),
    (periodic.generate_monthly_report, "2026-10"),
]
FILES = ["sample cities", "sample products"]
MAILING = [periodic.generate_daily_report, periodic.send_weekly_digest]


class KilledError(BaseException):
    """Ends a task as a kill does: nothing after it is done."""


@pytest.fixture
def app(make_app, mail_server):
    app = make_app(
        CELERY_TASK_ALWAYS_EAGER="true",
        SMTP_URL=mail_server.url,
        REPORT_RECIPIENTS="ada@example.com,grace@example.com,ada@example.com",
    )
    with app.app_context():
        yield app


def tick(task, at=MIDNIGHT, task_id=None):
    return task.apply(headers={HEADER: at}, task_id=task_id)


def done(task, at=MIDNIGHT):
    return tick(task, at).get()


def left_by_a_kill(patch, killed):
    """Run what raises KilledError; as after a kill, nothing is tidied."""
    patch.setattr(runs, "_release", lambda *_: None)
    with pytest.raises(KilledError):
        killed()


def run_of(task):
    with db.session() as session:
        return session.scalars(select(PeriodRun).where(PeriodRun.name == task.name)).one().period


def count(table):
    with db.session() as session:
        return session.scalar(select(func.count()).select_from(table))


def recipients(mail_server):
    return sorted(mail.rcpt_tos[0] for mail in mail_server.mails)


@pytest.mark.parametrize(("task", "period"), PERIODS)
def test_the_period_is_that_of_the_tick(app, task, period):
    """However late the task runs, and the second time it gives what it gave."""
    first = done(task)
    assert run_of(task) == period
    assert done(task, "2026-11-24T00:00:30+00:00") == first
    assert count(PeriodRun) == 1


def test_the_period_is_of_the_time_zone(make_app, mail_server):
    app = make_app(TIMEZONE="Pacific/Auckland", CELERY_TASK_ALWAYS_EAGER="true")
    with app.app_context():
        result = done(periodic.generate_daily_report, "2026-11-23T11:00:00+00:00")
    assert result["report_date"] == "2026-11-23"
    assert app.extensions["celery"].conf.timezone == "Pacific/Auckland"


def test_every_entry_sends_a_task_that_there_is(app):
    celery = app.extensions["celery"]
    celery.loader.import_default_modules()
    wanted = {entry["task"] for entry in SCHEDULE.values()}
    assert wanted <= set(celery.tasks)
    assert {task.name for task, _ in PERIODS} < wanted


def test_a_message_of_nobodys_tick_is_of_now(app):
    before = periods.day_before(datetime.now(UTC), UTC).name
    result = periodic.generate_daily_report.apply().get()
    assert result["report_date"] in (before, periods.day_before(datetime.now(UTC), UTC).name)


def test_expired_sessions_are_deleted(app):
    sessions.create("ada", HOUR, {})
    sessions.create("old", -HOUR, {})
    assert done(periodic.cleanup_expired_sessions) == {"cleaned": 1}
    sessions.create("older", -HOUR, {})
    assert done(periodic.cleanup_expired_sessions) == {"cleaned": 1}
    assert count(SessionRecord) == 2
    assert done(periodic.cleanup_expired_sessions, "2026-11-24T00:01:00+00:00") == {"cleaned": 1}
    assert count(SessionRecord) == 1


def test_every_source_is_fetched(app):
    result = done(periodic.sync_external_data)
    assert set(result) == {each.name for each in sources.enabled()}
    for name in FILES:
        assert result[name]["status"] == "success"
        assert result[name]["records"] > 0
    # Its address is the service's own, which does not run here.
    assert result["sample orders"]["status"] == "failed"


def test_a_source_that_fails_stops_no_other(app, monkeypatch, caplog):
    called = {}

    def failing(source_id, run_id):
        called[run_id] = source_id
        if len(called) == 1:
            raise UnavailableError("HTTP 503")
        return 7

    monkeypatch.setattr(pipeline, "sync", failing)
    first, *others = done(periodic.sync_external_data).values()
    assert first == {"status": "failed", "error": "HTTP 503"}
    assert others == [{"status": "success", "records": 7}] * 2
    assert "1 of 3 sources failed" in caplog.text
    assert list(called.values()) == [each.id for each in sources.enabled()]


def test_that_all_sources_failed_is_an_error_in_the_log(app, monkeypatch, caplog):
    def failing(source_id, run_id):
        raise RefusedError("HTTP 404")

    monkeypatch.setattr(pipeline, "sync", failing)
    result = done(periodic.sync_external_data)
    assert list(result.values()) == [{"status": "failed", "error": "HTTP 404"}] * 3
    assert [each.levelname for each in caplog.records if "3 of 3" in each.message] == ["ERROR"]


def test_the_daily_report_is_mailed_to_each_once(app, mail_server):
    fill()
    result = done(periodic.generate_daily_report)
    assert (result["report_type"], result["report_date"]) == ("daily_summary", "2026-11-23")
    assert result["status"] == "generated"
    assert recipients(mail_server) == ["ada@example.com", "grace@example.com"]
    message = message_from_bytes(mail_server.mails[0].content)
    assert message["Subject"] == "Daily report 2026-11-23"
    (attached,) = [part for part in message.walk() if part.get_filename()]
    assert attached.get_content_type() == "application/pdf"
    assert attached.get_payload(decode=True).startswith(b"%PDF-")


def test_the_monthly_report_is_of_last_month(app, mail_server):
    result = done(periodic.generate_monthly_report, "2026-12-01T00:00:00+00:00")
    assert (result["month"], result["status"]) == ("2026-11", "generated")
    assert recipients(mail_server) == ["ada@example.com", "grace@example.com"]


def test_another_type_is_no_daily_report(app):
    with pytest.raises(JobFailedError, match="daily_summary"):
        periodic.generate_daily_report.apply(args=("payments",)).get()
    assert count(PeriodRun) == 0


def test_without_recipients_the_report_is_only_made(make_app, mail_server):
    app = make_app(CELERY_TASK_ALWAYS_EAGER="true", SMTP_URL=mail_server.url)
    with app.app_context():
        assert done(periodic.generate_daily_report)["status"] == "generated"
        assert count(Report) == 1
    assert mail_server.mails == []


def test_the_digest_tells_the_week_to_who_wants_it(app, mail_server):
    fill()
    subscribers.add("ada@example.com", weekly_digest=True)
    subscribers.add("grace@example.com", weekly_digest=True)
    subscribers.add("alan@example.com")
    # The rows are of the 23rd, which is a Monday.
    result = done(periodic.send_weekly_digest, "2026-11-30T09:00:00+00:00")
    assert result == {"status": "sent", "recipient_count": 2}
    assert recipients(mail_server) == ["ada@example.com", "grace@example.com"]
    message = message_from_bytes(mail_server.mails[0].content)
    text = message.get_payload(decode=True).decode()
    assert message["Subject"] == "Weekly digest 2026-W48"
    assert "from 2026-11-23 to 2026-11-29" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["USD", "completed", "1", "0.20"] in lines
    assert ["USD", "declined", "1", "99,999,999,999,999.99"] in lines


def test_a_week_without_subscribers_sends_nothing(app, mail_server):
    assert done(periodic.send_weekly_digest, MONDAY) == {"status": "sent", "recipient_count": 0}
    assert mail_server.mails == []


@pytest.mark.parametrize("task", MAILING, ids=lambda task: task.name)
@pytest.mark.parametrize("queued", [False, True], ids=["before", "after"])
def test_killed_around_its_mails_it_sends_each_once(app, mail_server, monkeypatch, task, queued):
    """Redelivered under its id it goes on at once; the mails it had queued are not sent again."""
    for name in ("ada", "grace"):
        subscribers.add(f"{name}@example.com", weekly_digest=True)
    publish_all = registry.publish_all

    def killed(signatures, root_id):
        if queued:
            publish_all(signatures, root_id)
        # The mailing's own task, which runs at once here, goes on.
        if signatures[0].task != "tasks.send_email" or task is periodic.generate_daily_report:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(registry, "publish_all", killed)
        left_by_a_kill(patch, lambda: tick(task, task_id="t"))
    tick(task, task_id="t").get()
    assert recipients(mail_server) == ["ada@example.com", "grace@example.com"]
    assert count(Report) == (task is periodic.generate_daily_report)


PERIOD = periods.day_before(datetime.fromisoformat(MIDNIGHT), UTC)


def once(task_id="t", work=lambda: {"n": 1}, name="tasks.x"):
    return runs.once(name, PERIOD, task_id, work)


def die():
    raise KilledError


def unfinished(monkeypatch, task_id):
    with monkeypatch.context() as patch:
        left_by_a_kill(patch, lambda: once(task_id, die))


def test_a_done_period_answers_with_its_kept_result(app):
    assert once("a") == {"n": 1}
    assert once("b", lambda: {"n": 2}) == {"n": 1}
    assert once("b", lambda: {"n": 2}, name="tasks.y") == {"n": 2}


def test_a_killed_task_begins_again_under_its_id(app, monkeypatch):
    unfinished(monkeypatch, "a")
    assert once("b") == {"status": "skipped", "period": PERIOD.name}
    assert once("a") == {"n": 1}


def test_what_was_left_for_a_lease_is_anybodys(app, monkeypatch):
    unfinished(monkeypatch, "a")
    with db.session() as session:
        session.execute(update(PeriodRun).values(started_at=datetime.now(UTC) - runs.LEASE))
    assert once("b") == {"n": 1}


def test_what_failed_is_anybodys_at_once(app):
    with pytest.raises(ZeroDivisionError):
        once("a", lambda: {"n": 1 // 0})
    assert once("b") == {"n": 1}


def test_two_at_the_same_moment_do_it_once(app):
    begun, end = Event(), Event()

    def work():
        begun.set()
        assert end.wait(10)
        return {"n": 1}

    def first():
        with app.app_context():
            return once("a", work)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first)
        assert begun.wait(10)
        skipped = once("b")
        end.set()
        assert waiting.result(10) == {"n": 1}
    assert skipped == {"status": "skipped", "period": PERIOD.name}
    assert once("b") == {"n": 1}


def test_only_the_last_periods_are_remembered(app):
    long_ago = PERIOD.start - (runs.KEPT + 1) * (PERIOD.end - PERIOD.start)
    once(name="tasks.y")
    once()
    with db.session() as session:
        session.execute(update(PeriodRun).values(period="old", started_at=long_ago))
    once()
    with db.session() as session:
        kept = session.execute(select(PeriodRun.name, PeriodRun.period)).all()
    assert sorted(kept) == [("tasks.x", PERIOD.name), ("tasks.y", "old")]
