"""Where a task's time went: never negative, whatever the clocks of the hosts say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followthrough import names
from followthrough.celery import timing

TIMES = st.none() | st.floats(1, 4e9)


@given(TIMES, TIMES, TIMES, st.floats(1, 4e9))
def test_no_time_is_negative(
    sent: float | None, received: float | None, eta: float | None, started: float
) -> None:
    found = timing.waits(sent, received, eta, started)
    assert all(value >= 0 for value in found.values())
    assert timing.wait(sent, started) is None or timing.wait(sent, started) >= 0  # type: ignore[operator]


def test_the_parts_add_up() -> None:
    found = timing.waits(100.0, 101.5, 110.0, 112.0)
    assert found == {
        names.TIME_PUBLISHED: 100.0,
        names.TIME_BROKER: 1.5,
        names.TIME_ETA: 8.5,
        names.TIME_PREFETCHED: 2.0,
    }
    assert timing.wait(100.0, 112.0) == 12.0


def test_an_eta_that_has_passed_takes_no_time() -> None:
    assert timing.waits(100.0, 101.0, 99.0, 103.0)[names.TIME_ETA] == 0
    assert timing.waits(100.0, 101.0, 99.0, 103.0)[names.TIME_PREFETCHED] == 2.0


def test_a_sender_whose_clock_is_ahead_leaves_no_negative_time() -> None:
    assert timing.waits(200.0, 101.0, None, 103.0)[names.TIME_BROKER] == 0


@pytest.mark.parametrize("value", [None, 5, "", "yesterday", "2026-11-25T10:00:00", {}])
def test_what_is_no_time_with_a_zone_is_none(value: object) -> None:
    assert timing.timestamp(value) is None


def test_celerys_times_are_read() -> None:
    assert timing.timestamp("1970-01-01T00:01:00+00:00") == 60.0
    assert timing.timestamp("1970-01-01T01:01:00.5+01:00") == 60.5
