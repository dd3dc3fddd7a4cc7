"""An agent is started where none is, at once after a kill, and rarely where none lives long."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from followthrough.recorder import launch
from followthrough.recorder.launch import Launcher
from followthrough.settings import Settings, load


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When an agent was started."""
    times: list[float] = []
    monkeypatch.setattr(Launcher, "_start", lambda _: times.append(time.time()))
    return times


@pytest.fixture
def look(tmp_path: Path) -> Callable[[], None]:
    launcher = Launcher(dataclasses.replace(load(Settings, {}), state_dir=tmp_path))

    def now() -> None:
        launcher._next = 0.0
        launcher.look()

    return now


def test_one_that_is_about_to_begin_is_waited_for(
    look: Callable[[], None], started: list[float]
) -> None:
    look()
    look()
    assert len(started) == 1


def test_one_that_was_at_work_and_was_killed_is_followed_at_once(
    tmp_path: Path, look: Callable[[], None], started: list[float]
) -> None:
    look()
    (tmp_path / "agent.ready").touch()
    look()
    assert len(started) == 2


def test_one_that_never_gets_to_work_is_tried_ever_more_rarely(
    tmp_path: Path, started: list[float]
) -> None:
    launcher = Launcher(dataclasses.replace(load(Settings, {}), state_dir=tmp_path))
    pauses = []
    for _ in range(12):
        launcher._next = 0.0
        launcher.look()
        pauses.append(launcher._pause)
        os.utime(tmp_path / "agent.starting", (1, 1))
    assert len(started) == 12
    assert pauses[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == launch.LONGEST


def test_where_nothing_can_be_written_it_says_so_and_tries_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, started: list[float]
) -> None:
    (tmp_path / "file").touch()
    settings = dataclasses.replace(load(Settings, {}), state_dir=tmp_path / "file")
    Launcher(settings).look()
    assert started == []
    assert "no agent can be started" in caplog.text
