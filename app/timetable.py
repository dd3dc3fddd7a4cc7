"""What is scheduled, when it was last sent and done, and when it is due; asks no Redis."""

from __future__ import annotations

import shelve
import shutil
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from celery import Celery
from celery.schedules import BaseSchedule, crontab, maybe_schedule

from app.schedule import SCHEDULE

if TYPE_CHECKING:
    from app.settings import Settings

FILE = "celerybeat-schedule"
HEAD = ("ENTRY", "SCHEDULE", "LAST SENT", "LAST DONE", "NEXT DUE")
NEVER = "never"
UNKNOWN = "unknown"
NOT_KEPT = "-"

DAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")

Times = Mapping[str, datetime]


@dataclass(frozen=True)
class Known:
    """When entries were last sent and tasks last done; None where that can't be read."""

    sent: Times | None
    done: Times | None


def rows(settings: Settings, now: datetime) -> list[tuple[str, ...]]:
    """A row an entry, with the columns of HEAD; times are in TIMEZONE."""
    zone = ZoneInfo(settings.timezone)
    known = Known(sent(settings.state_dir), done(settings.database_url))
    app = Celery("timetable", set_as_current=False)
    app.conf.timezone = settings.timezone
    return [_row(name, entry, known, app, now.astimezone(zone)) for name, entry in SCHEDULE.items()]


def _row(
    name: str, entry: Mapping[str, Any], known: Known, app: Celery, now: datetime
) -> tuple[str, ...]:
    last = known.sent.get(name) if known.sent else None
    schedule = maybe_schedule(entry["schedule"], app=app)
    return (
        name,
        in_words(entry["schedule"]),
        _told(known.sent, name, now),
        _told(known.done, entry["task"], now) if _is_kept(entry["task"]) else NOT_KEPT,
        _due(schedule, last or now, now),
    )


def _told(times: Times | None, name: str, now: datetime) -> str:
    if times is None:
        return UNKNOWN
    return _local(times[name], now) if name in times else NEVER


def _local(moment: datetime, now: datetime) -> str:
    return f"{moment.astimezone(now.tzinfo):%Y-%m-%d %H:%M %Z}"


def _is_kept(task: str) -> bool:
    return task != "tasks.forget_expired"


def _due(schedule: BaseSchedule, last: datetime, now: datetime) -> str:
    """When beat sends it next, or would if it ran."""
    asked = copy(schedule)
    asked.app, asked.nowfun = schedule.app, lambda: now
    left = asked.remaining_estimate(last.astimezone(now.tzinfo))
    # In UTC: the sum of a local time and a duration knows no change of the clocks.
    return "now" if left <= timedelta(0) else _local(now.astimezone(UTC) + left, now)


def in_words(schedule: float | crontab) -> str:
    """A schedule as people say it; a crontab of an unusual kind as it is written."""
    if isinstance(schedule, crontab):
        return _crontab_in_words(schedule)
    return f"every {_duration(schedule)}"


def _crontab_in_words(schedule: crontab) -> str:
    fields = schedule.hour, schedule.day_of_week, schedule.day_of_month, schedule.month_of_year
    if len(schedule.minute) > 1:
        return str(schedule)
    match tuple(map(len, fields)):
        case (24, 7, 31, 12):
            return f"every hour at :{min(schedule.minute):02}"
        case (1, 7, 31, 12):
            return f"every day at {_time(schedule)}"
        case (1, 1, 31, 12):
            return f"{DAYS[min(schedule.day_of_week)]} at {_time(schedule)}"
        case (1, 7, 1, 12):
            return f"day {min(schedule.day_of_month)} of each month at {_time(schedule)}"
    return str(schedule)


def _time(schedule: crontab) -> str:
    return f"{min(schedule.hour):02}:{min(schedule.minute):02}"


def _duration(seconds: float) -> str:
    for length, name in ((3600, "hour"), (60, "minute")):
        if seconds == length:
            return name
        if seconds % length == 0:
            return f"{seconds / length:g} {name}s"
    return f"{seconds:g} seconds"


def sent(folder: Path) -> Times | None:
    """When beat last sent each entry, from its file; None if that can't be read."""
    with TemporaryDirectory() as place:
        # Beat may hold a lock on its own; what a copy caught in the middle gives can't be read.
        copies = [shutil.copy(path, place) for path in folder.glob(f"{FILE}*")]
        return _attempted(lambda: _read(Path(place) / FILE)) if copies else {}


def _read(path: Path) -> Times:
    # As beat itself does, this trusts who may write into the state directory.
    with shelve.open(str(path), flag="r") as store:  # noqa: S301
        entries = store["entries"]
    # An entry that was never sent has the time at which it was made.
    return {name: each.last_run_at for name, each in entries.items() if each.total_run_count}


def done(url: str) -> Times | None:
    """When each task last ended a period's work; None without its table."""
    from sqlalchemy import make_url  # noqa: PLC0415  only who asks loads the database

    target = make_url(url)
    if target.get_backend_name() == "sqlite" and not Path(target.database or "").is_file():
        # Asking would make the file.
        return {}
    return _attempted(lambda: _ask(url))


def _ask(url: str) -> Times:
    from sqlalchemy import func, select  # noqa: PLC0415

    from app import db  # noqa: PLC0415
    from app.models import PeriodRun  # noqa: PLC0415

    engine = db.engine(url)
    try:
        with engine.connect() as connection:
            ended = select(PeriodRun.name, func.max(PeriodRun.finished_at)).group_by(PeriodRun.name)
            found = connection.execute(ended.where(PeriodRun.status == PeriodRun.DONE))
            # SQLite forgets the time zone.
            return {name: at if at.tzinfo else at.replace(tzinfo=UTC) for name, at in found if at}
    finally:
        engine.dispose()


def _attempted(read: Callable[[], Times]) -> Times | None:
    try:
        return read()
    except Exception:  # noqa: BLE001  a broken file or database can raise anything
        return None
