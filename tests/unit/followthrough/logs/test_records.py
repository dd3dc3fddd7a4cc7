"""A line's fields are those of its log record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from followthrough.logs import records


class Recorder:
    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def log(self, *args: Any, **ids: int) -> None:
        self.told.append((*args, ids))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    records.use(recorder)  # type: ignore[arg-type]
    yield recorder
    records.use(None)


def test_what_a_record_has_fields_for_is_no_attribute(recorder: Recorder) -> None:
    line = {"timestamp": "now", "level": "info", "event": "a.b", "logger": "x", "service": "s"}
    ids = {"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "2"}
    records.record("x", "info", {**line, **ids, "task": "pay"})
    assert recorder.told == [("x", "info", "a.b", {"task": "pay"}, {"trace_id": 1, "span_id": 2})]


@pytest.mark.parametrize("value", ["short", "g" * 32, 3, None])
def test_what_is_no_id_stays_a_field(recorder: Recorder, value: Any) -> None:
    records.record("x", "info", {"event": "a", "trace_id": value})
    assert recorder.told == [("x", "info", "a", {"trace_id": value}, {"trace_id": 0, "span_id": 0})]


def test_without_a_recorder_nothing_is_recorded() -> None:
    records.record("x", "info", {"event": "a"})


def test_an_exception_has_the_attributes_of_the_conventions(recorder: Recorder) -> None:
    frame = {"file": "a.py", "line": 3, "function": "f"}
    error = {"type": "ValueError", "message": "no", "frames": [frame]}
    records.record("x", "error", {"event": "a", "exception": error})
    assert recorder.told[0][3] == {
        "exception.type": "ValueError",
        "exception.message": "no",
        "exception.stacktrace": '  File "a.py", line 3, in f\nValueError: no',
    }
