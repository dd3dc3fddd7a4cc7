"""What is made from the code is in step with it."""

from __future__ import annotations

import runpy

import pytest

from tests.support import HOME


@pytest.mark.parametrize(("file", "make"), [("outcomes.md", "outcomes"), ("names.md", "catalogue")])
def test_the_committed_page_is_the_generated_one(file: str, make: str) -> None:
    """Who changes the table also commits the page: `python docs/generate.py`."""
    text = runpy.run_path(str(HOME / "docs" / "generate.py"))[make]()
    assert (HOME / "docs" / file).read_text() == text
