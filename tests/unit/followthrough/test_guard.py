"""An error of telemetry stays in telemetry."""

from __future__ import annotations

import logging

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from followthrough import guard


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    where: list[str] = []
    monkeypatch.setattr(guard, "count", where.append)
    monkeypatch.setattr(guard, "strict", False)
    monkeypatch.setattr(guard, "_last_logged", {})
    return where


@guard.guarded("here")
def broken(error: BaseException) -> None:
    raise error


def test_an_error_is_swallowed_counted_and_logged_once_a_minute(
    counted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert [broken(ValueError("x")) for _ in range(3)] == [None, None, None]
    assert counted == ["here"] * 3
    assert [record.message for record in caplog.records] == ["telemetry.error"]


def test_an_error_is_logged_again_after_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("followthrough.guard.time.monotonic", lambda: now[0])
    for _ in range(2):
        broken(ValueError("x"))
        now[0] += 61
    assert [record.message for record in caplog.records] == ["telemetry.error"] * 2


def test_strict_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "strict", True)
    with pytest.raises(ValueError, match="x"):
        broken(ValueError("x"))


def test_a_time_limit_passes_through(counted: list[str]) -> None:
    """It is raised inside whatever runs, telemetry too, and is meant for the task."""
    guard.let_pass(SoftTimeLimitExceeded)
    with pytest.raises(SoftTimeLimitExceeded):
        broken(SoftTimeLimitExceeded(1))
    assert counted == []


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_what_ends_the_process_passes_through(error: BaseException) -> None:
    with pytest.raises(type(error)):
        broken(error)


def test_a_counter_that_fails_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "count", lambda _where: 1 / 0)
    broken(ValueError("x"))


def test_a_hook_keeps_its_result_and_its_name() -> None:
    @guard.guarded("there")
    def double(n: int) -> int:
        return 2 * n

    assert double(4) == 8
    assert double.__name__ == "double"
