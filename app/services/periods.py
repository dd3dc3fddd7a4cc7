"""Which period a tick of the schedule stands for: arithmetic on times and time zones alone.

A period belongs to the tick and not to when its task runs: what midnight asks for is yesterday,
also when the task runs an hour later. Its bounds are instants, so that a day of 23 or 25 hours is
whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

DIGEST_HOUR = 9  # of a Monday

DAY = timedelta(days=1)
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Period:
    """A span of time: `start` belongs to it, `end` does not, both UTC; `name` tells it apart."""

    name: str
    start: datetime
    end: datetime


def minute(at: datetime, zone: tzinfo) -> Period:
    """The minute that holds `at`."""
    start = at.astimezone(zone).replace(second=0, microsecond=0)
    # With the offset: where clocks are set back, an hour's times come twice.
    return Period(f"{start:%Y-%m-%dT%H:%M%z}", _utc(start), _utc(start) + timedelta(minutes=1))


def hour(at: datetime, zone: tzinfo) -> Period:
    """The hour that holds `at`."""
    start = at.astimezone(zone).replace(minute=0, second=0, microsecond=0)
    return Period(f"{start:%Y-%m-%dT%H%z}", _utc(start), _utc(start) + timedelta(hours=1))


def day_before(at: datetime, zone: tzinfo) -> Period:
    """The day before the one that holds `at`."""
    return _days(f"{_day(at, zone) - DAY}", _day(at, zone) - DAY, _day(at, zone), zone)


def week_before(at: datetime, zone: tzinfo) -> Period:
    """The ISO week before the latest Monday at DIGEST_HOUR; its name is as in 2026-W48."""
    # Until that hour it is still the last week's turn.
    turn = at.astimezone(zone).replace(tzinfo=None) - timedelta(hours=DIGEST_HOUR)
    monday = turn.date() - timedelta(days=turn.weekday())
    first = (monday - WEEK).isocalendar()
    return _days(f"{first.year}-W{first.week:02}", monday - WEEK, monday, zone)


def month_before(at: datetime, zone: tzinfo) -> Period:
    """The month before the one that holds `at`."""
    end = _day(at, zone).replace(day=1)
    start = (end - DAY).replace(day=1)
    return _days(f"{start:%Y-%m}", start, end, zone)


def _day(at: datetime, zone: tzinfo) -> date:
    return at.astimezone(zone).date()


def _days(name: str, first: date, after: date, zone: tzinfo) -> Period:
    return Period(name, _midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    # Where clocks skip midnight, this is the moment at which they do.
    return _utc(datetime.combine(day, time(), zone))


def _utc(local: datetime) -> datetime:
    return local.astimezone(UTC)
