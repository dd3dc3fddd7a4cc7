"""Deaths are counted by task, outside the processes that die."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followthrough import attempts


def test_deaths_are_counted_by_task_and_the_last_span_is_kept(tmp_path: Path) -> None:
    assert attempts.note_death(tmp_path, "a", "first") == 1
    assert attempts.note_death(tmp_path, "b") == 1
    assert attempts.note_death(tmp_path, "a", "second") == 2
    assert attempts.of(tmp_path, "a") == attempts.Attempts("a", 2, "second")
    attempts.forget(tmp_path, "a")
    assert attempts.of(tmp_path, "a").deaths == 0
    assert attempts.of(tmp_path, "b").deaths == 1


@given(task_id=st.text(max_size=300))
def test_any_id_is_counted(tmp_path_factory: pytest.TempPathFactory, task_id: str) -> None:
    folder = tmp_path_factory.mktemp("attempts")
    assert attempts.note_death(folder, task_id) == 1
    assert attempts.of(folder, task_id).deaths == 1


@pytest.mark.parametrize("content", ["", "5", "{}", '{"task_id": "a", "deaths": "x"}', "["])
def test_a_spoilt_file_counts_from_the_beginning(tmp_path: Path, content: str) -> None:
    attempts.note_death(tmp_path, "a")
    (path,) = (tmp_path / "attempts").iterdir()
    path.write_text(content)
    assert attempts.note_death(tmp_path, "a") == 1


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "LIMIT", 20)
    for number in range(30):
        attempts.note_death(tmp_path, str(number))
    assert len(list((tmp_path / "attempts").iterdir())) <= 20
    assert attempts.of(tmp_path, "29").deaths == 1
