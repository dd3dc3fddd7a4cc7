from __future__ import annotations

from pathlib import Path

import pytest

from bench import pages
from bench.overhead import readme

BEGIN, END = pages.marks(readme.NAME)

SPREAD = {"median": 100.4, "low": 90.0, "high": 111.0, "count": 6}
RESULT = {
    "rows": [
        {"kit": "bare", "operation": "json", "total": SPREAD, "added": None, "ratio": None},
        {
            "kit": "ours",
            "operation": "json",
            "total": SPREAD,
            "added": SPREAD,
            "ratio": SPREAD | {"median": 0.3},
        },
    ],
    "surroundings": {
        "when": "2026-11-25T20:00:00",
        "python": "3.11.7",
        "versions": {"flask": "3.1.3"},
    },
}


def test_the_table_stands_between_its_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    readme.write(page, RESULT)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}| |")
    assert text.endswith(f"{END}after\n")
    assert "| bare | 100 us |" in text
    assert "| followthrough | +100 (90 to 111), 0.30 of contrib |" in text
    assert "old" not in text
    assert "Python 3.11.7: flask 3.1.3." in text


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n")
    with pytest.raises(ValueError, match=r"has no <!-- bench\.overhead -->"):
        readme.write(page, RESULT)
    assert page.read_text() == "before\n"
