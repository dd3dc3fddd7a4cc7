"""How times and durations read."""

from __future__ import annotations

import pytest

from followthrough.console import show

SECOND = 10**9


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0"),
        (7, "7 ns"),
        (812_000, "812 µs"),
        (12_340_000, "12.3 ms"),
        (100_000_000, "100 ms"),
        (1_240_000_000, "1.24 s"),
        (2 * SECOND, "2 s"),
        (125 * SECOND, "2 min 5 s"),
        (3840 * SECOND, "1 h 4 min"),
        (90_000 * SECOND, "1 d 1 h"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(nanoseconds, text):
    assert show.duration(nanoseconds) == text


def test_moments_are_told_to_the_millisecond():
    assert show.utc(1_795_000_000_123_456_789) == "2026-11-18T11:06:40.123Z"


def test_local_moments_name_their_zone(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert show.local(1_795_000_000_123_456_789) == "2026-11-18 20:06:40.123 JST"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_moments_past_the_calendar_do_not_break_the_page():
    assert show.utc(2**63 - 1).startswith("2262-")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "just now"), (5, "5 s ago"), (125, "2 min ago"), (4000, "1 h ago")]
)
def test_the_past_is_told_roughly(seconds, text):
    assert show.ago(0, seconds * SECOND) == text


def test_each_service_has_a_colour_of_its_own_while_they_last():
    assert len(set(show.colours(f"s{n}" for n in range(10)).values())) == 10
    assert len(show.colours(f"s{n}" for n in range(25))) == 25
