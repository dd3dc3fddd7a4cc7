"""Which period a tick stands for, in any time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services import periods

BERLIN = ZoneInfo("Europe/Berlin")
# With clocks that are set by half an hour, at midnight, by no hour, and far from Greenwich.
ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/Santiago",
        "America/New_York",
        "Africa/Cairo",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Pacific/Kiritimati",
    ]
).map(ZoneInfo)
TIMES = st.datetimes(
    datetime(2015, 1, 1),  # noqa: DTZ001  Hypothesis adds the zone
    datetime(2040, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
SPANS = {
    periods.minute: (timedelta(minutes=1), timedelta(minutes=1)),
    periods.hour: (timedelta(hours=1), timedelta(hours=1)),
    periods.day_before: (timedelta(hours=23), timedelta(hours=25)),
    periods.week_before: (timedelta(hours=167), timedelta(hours=169)),
    periods.month_before: (timedelta(hours=28 * 24 - 1), timedelta(hours=31 * 24 + 1)),
}
PERIODS = st.sampled_from(list(SPANS))


def at(text):
    return datetime.fromisoformat(text)


@given(TIMES, ZONES, PERIODS)
def test_a_period_is_as_long_as_its_kind(tick, zone, period):
    found = period(tick, zone)
    shortest, longest = SPANS[period]
    assert shortest <= found.end - found.start <= longest
    assert (found.start.tzinfo, found.end.tzinfo) == (UTC, UTC)


@given(TIMES, ZONES, PERIODS)
def test_no_instant_is_left_out_or_told_twice(tick, zone, period):
    """The period of a tick after this one begins where this one ends, and has another name."""
    found = period(tick, zone)
    later = found
    while later == found:
        tick += min(found.end - found.start, timedelta(hours=23))
        later = period(tick, zone)
    assert later.start == found.end
    assert later.name != found.name


@given(TIMES, ZONES, st.sampled_from([periods.minute, periods.hour]))
def test_a_short_period_holds_its_tick(tick, zone, period):
    found = period(tick, zone)
    assert found.start <= tick < found.end


@given(TIMES, ZONES, st.sampled_from([*SPANS][2:]))
def test_a_report_is_of_what_is_over(tick, zone, period):
    assert period(tick, zone).end <= tick


@given(TIMES, ZONES, PERIODS, st.integers(0, 59))
def test_a_tick_sent_twice_is_of_one_period(tick, zone, period, seconds):
    """Two beats send it at moments of their own."""
    first = periods.minute(tick, zone).start
    assert period(first + timedelta(seconds=seconds), zone) == period(first, zone)


@pytest.mark.parametrize(
    ("tick", "period", "name", "hours"),
    [
        ("2026-11-24T00:00:00+01:00", periods.day_before, "2026-11-23", 24),
        ("2026-11-24T00:10:00+01:00", periods.day_before, "2026-11-23", 24),
        ("2026-11-24T23:59:59+01:00", periods.day_before, "2026-11-23", 24),
        # Clocks are set forward, and back.
        ("2026-03-30T00:00:00+02:00", periods.day_before, "2026-03-29", 23),
        ("2026-10-26T00:00:00+01:00", periods.day_before, "2026-10-25", 25),
        ("2026-03-30T09:00:00+02:00", periods.week_before, "2026-W13", 167),
        ("2026-10-26T09:00:00+01:00", periods.week_before, "2026-W43", 169),
        ("2026-04-01T00:00:00+02:00", periods.month_before, "2026-03", 31 * 24 - 1),
        ("2026-11-01T00:00:00+01:00", periods.month_before, "2026-10", 31 * 24 + 1),
        # The hour that comes twice is two hours.
        ("2026-10-25T02:00:00+02:00", periods.hour, "2026-10-25T02+0200", 1),
        ("2026-10-25T02:00:00+01:00", periods.hour, "2026-10-25T02+0100", 1),
        # Before nine it is still last Monday's turn; a late one is of the same Monday.
        ("2026-11-23T08:59:59+01:00", periods.week_before, "2026-W46", 168),
        ("2026-11-23T09:00:00+01:00", periods.week_before, "2026-W47", 168),
        ("2026-11-25T12:00:00+01:00", periods.week_before, "2026-W47", 168),
        ("2027-01-04T09:00:00+01:00", periods.week_before, "2026-W53", 168),
        ("2027-01-01T00:00:00+01:00", periods.month_before, "2026-12", 31 * 24),
    ],
)
def test_periods_of_berlin(tick, period, name, hours):
    found = period(at(tick), BERLIN)
    assert (found.name, found.end - found.start) == (name, timedelta(hours=hours))


def test_a_day_begins_at_its_zones_midnight():
    found = periods.day_before(at("2026-10-26T00:00:00+01:00"), BERLIN)
    assert found.start == at("2026-10-25T00:00:00+02:00")
    assert found.end == at("2026-10-26T00:00:00+01:00")
    assert periods.minute(at("2026-11-24T12:34:56Z"), BERLIN).name == "2026-11-24T13:34+0100"
