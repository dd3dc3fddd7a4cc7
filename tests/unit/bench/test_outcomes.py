"""What is said of the runs of a task that came."""

from __future__ import annotations

import pytest

from bench.outcomes.scenarios import Scenario, judge


@pytest.mark.parametrize(
    ("runs", "is_error", "seen", "verdict"),
    [
        (1, True, [True], "yes"),
        (1, True, [False], "as success"),
        (1, False, [True], "as failure"),
        (1, None, [True], "yes"),
        (1, True, [], "no span"),
        (1, True, [True, True], "2 spans"),
        (10, False, [False] * 7, "7 of 10"),
        (2, False, [False, False], "yes"),
    ],
)
def test_a_scenario_is_told_right_by_as_many_runs_as_there_were(
    runs: int, is_error: bool | None, seen: list[bool], verdict: str
) -> None:
    scenario = Scenario("any", "any", lambda *_: None, runs, is_error)
    assert judge(scenario, seen) == verdict
