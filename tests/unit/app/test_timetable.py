"""What the schedule command shows, whatever state beat's file and the database are in."""

from __future__ import annotations

import io
import shelve
from datetime import UTC, datetime, timedelta

import pytest
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule

from app import db, settings, timetable
from app.beat import Scheduler
from app.manage import commands, output
from app.models import PeriodRun
from app.schedule import HEADER, SCHEDULE

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
DAILY = "generate-daily-report"
TASK = SCHEDULE[DAILY]["task"]


@pytest.fixture
def environ(tmp_path):
    return {"STATE_DIR": str(tmp_path), "TIMEZONE": "Europe/Berlin"}


def shown(environ, now=NOW):
    rows = timetable.rows(settings.load(environ), now)
    return {row[0]: dict(zip(timetable.HEAD, row, strict=True)) for row in rows}


def keep(folder, **entries):
    with shelve.open(str(folder / timetable.FILE)) as store:  # noqa: S301  its own file
        store["entries"] = entries


def entry(last, count=1):
    times = {"last_run_at": last, "total_run_count": count}
    return ScheduleEntry(name=DAILY, task=TASK, schedule=crontab(hour=0, minute=0), **times)


def test_where_nothing_ran_it_says_so_and_makes_nothing(environ, tmp_path):
    rows = shown(environ)
    assert list(rows) == list(SCHEDULE)
    assert {row["LAST SENT"] for row in rows.values()} == {"never"}
    assert {row["LAST DONE"] for row in rows.values()} == {"never", "-"}
    assert rows[DAILY]["NEXT DUE"] == "2026-11-25 00:00 CET"
    assert rows["send-weekly-digest"]["NEXT DUE"] == "2026-11-30 09:00 CET"
    assert rows["sync-external-data"]["NEXT DUE"] == "2026-11-24 14:00 CET"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-03-28T12:00:00+01:00", "2026-03-29 00:00 CET"),
        ("2026-03-29T12:00:00+02:00", "2026-03-30 00:00 CEST"),
        ("2026-10-24T12:00:00+02:00", "2026-10-25 00:00 CEST"),
        ("2026-10-25T00:30:00+02:00", "2026-10-26 00:00 CET"),
    ],
)
def test_midnight_is_midnight_where_the_clocks_are_changed(environ, now, due):
    assert shown(environ, datetime.fromisoformat(now))[DAILY]["NEXT DUE"] == due


def test_what_beat_sent_is_told_from_its_file(environ, tmp_path):
    keep(tmp_path, **{DAILY: entry(NOW - timedelta(hours=13))})
    row = shown(environ)[DAILY]
    assert row["LAST SENT"] == "2026-11-24 00:00 CET"
    assert row["NEXT DUE"] == "2026-11-25 00:00 CET"


def test_what_beat_missed_is_due_now(environ, tmp_path):
    keep(tmp_path, **{DAILY: entry(NOW - timedelta(hours=14))})
    assert shown(environ)[DAILY]["NEXT DUE"] == "now"


def test_an_entry_that_was_only_planned_was_never_sent(environ, tmp_path):
    keep(tmp_path, **{DAILY: entry(NOW, count=0)})
    assert shown(environ)[DAILY]["LAST SENT"] == "never"


@pytest.mark.parametrize("content", [b"", b"\x80broken\0" * 99])
def test_a_broken_file_is_unknown_and_left_alone(environ, tmp_path, content):
    keep(tmp_path, **{DAILY: entry(NOW)})
    files = list(tmp_path.iterdir())
    for file in files:
        file.write_bytes(content)
    assert {row["LAST SENT"] for row in shown(environ).values()} <= {"unknown"}
    assert {file.read_bytes() for file in files} == {content}


def test_what_tasks_have_done_is_told_from_the_database(environ, make_app):
    app = make_app(**environ)
    started, ended = NOW - timedelta(hours=13), NOW - timedelta(hours=12, minutes=50)
    run = {"name": TASK, "started_at": started, "task_id": "t"}
    with app.app_context(), db.session() as session:
        session.add(PeriodRun(period="2026-11-23", status="done", finished_at=ended, **run))
        session.add(PeriodRun(period="2026-11-24", status="started", **run))
    assert shown(environ)[DAILY]["LAST DONE"] == "2026-11-24 00:10 CET"
    assert shown(environ)["send-weekly-digest"]["LAST DONE"] == "never"


def test_without_its_database_it_still_shows_the_rest(environ, tmp_path):
    (tmp_path / "app.db").write_bytes(b"no database" * 999)
    rows = shown(environ)
    assert {row["LAST DONE"] for row in rows.values()} == {"unknown", "-"}
    assert rows[DAILY]["NEXT DUE"] == "2026-11-25 00:00 CET"


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (60.0, "every minute"),
        (120, "every 2 minutes"),
        (3600.0, "every hour"),
        (7200, "every 2 hours"),
        (0.5, "every 0.5 seconds"),
        (90, "every 90 seconds"),
        (crontab(minute=0), "every hour at :00"),
        (crontab(hour=0, minute=5), "every day at 00:05"),
        (crontab(hour=9, minute=0, day_of_week="monday"), "Mondays at 09:00"),
        (crontab(hour=0, minute=0, day_of_month=1), "day 1 of each month at 00:00"),
    ],
)
def test_a_schedule_in_words(when, words):
    assert timetable.in_words(when) == words


@pytest.mark.parametrize(
    "unusual",
    [
        crontab(minute="*/5"),
        crontab(hour="8-17", minute=0),
        crontab(hour=8, minute=0, day_of_week="1-5"),
        crontab(hour=8, minute=0, day_of_month="1,15"),
        crontab(hour=8, minute=0, month_of_year=1),
        crontab(hour=8, minute=0, day_of_month=13, day_of_week=5),
    ],
)
def test_an_unusual_crontab_is_told_as_it_is_written(unusual):
    assert timetable.in_words(unusual) == str(unusual)


def test_the_command_prints_plain_lines(environ, monkeypatch, capsys):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert commands.main(["schedule"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split("  ")[0] == "ENTRY"
    assert [line.split()[0] for line in said[1:]] == list(SCHEDULE)


def test_a_terminal_gets_a_drawn_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    output.show_table(terminal, [("ENTRY", "DUE"), ("a", "now")])
    assert "│ a" in terminal.getvalue()


def test_beat_says_when_it_sends_and_keeps_no_trace_of_it(make_app, monkeypatch):
    """The header is of this tick alone: the entry that beat keeps has none."""
    app = make_app().extensions["celery"]
    sent = []
    monkeypatch.setattr(app, "send_task", lambda *_, **options: sent.append(options))
    beat = Scheduler(app, lazy=True)
    planned = beat.Entry(
        name="a", task="tasks.unknown", schedule=schedule(60), options={"expires": 60}, app=app
    )
    before = datetime.now(UTC)
    beat.apply_async(planned, advance=False)
    assert before <= datetime.fromisoformat(sent[0]["headers"][HEADER]) <= datetime.now(UTC)
    assert sent[0]["expires"] == 60
    assert planned.options == {"expires": 60}
