"""What is made from the code is in step with it."""

from __future__ import annotations

import json
import re
import runpy

import pytest

from bench import pages
from bench.outcomes import table
from followthrough import names, outcome
from tests.support import HOME


@pytest.mark.parametrize(("file", "make"), [("outcomes.md", "outcomes"), ("names.md", "catalogue")])
def test_the_committed_page_is_the_generated_one(file: str, make: str) -> None:
    """Who changes the table also commits the page: `python docs/generate.py`."""
    text = runpy.run_path(str(HOME / "docs" / "generate.py"))[make]()
    assert (HOME / "docs" / file).read_text() == text


def test_a_page_that_is_made_anew_keeps_its_measured_table() -> None:
    measured = runpy.run_path(str(HOME / "docs" / "generate.py"))["measured"]
    begin, end = pages.marks(table.NAME)
    assert measured(f"before\n{begin}| told |\n{end}after\n") == f"{begin}| told |\n{end}"
    assert measured("a page without one\n") == begin + end


def test_the_page_on_logs_names_events_and_fields_that_there_are() -> None:
    text = (HOME / "docs" / "logs.md").read_text()
    table = text.split("## Events")[1].split("## In your own")[0]
    told = {value for name, value in vars(names).items() if name.isupper()}
    told |= {telling.event for telling in outcome.TELLING.values()}
    events = set(re.findall(r"`([a-z]+\.[a-z]+)`", table))
    assert events <= told
    for event in (names.REQUEST_FINISHED, names.TASK_PUBLISHED, names.TASK_STARTED):
        assert event in events
    for event in (names.ALERT_DROPPED, names.TELEMETRY_ERROR):
        assert event in events
    (example,) = re.findall(r"```json\n(.*)\n```", text)
    always = {"timestamp", "level", "event", "logger", "service"}
    assert set(json.loads(example)) - always <= told
