"""The matrix can say FALSE: each cell, of a task that is told wrongly in one way."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.samples import Sample

from tests.integration.outcomes.expect import CELLS, End, Told, counts, problems
from tests.integration.outcomes.seen import CONSUMER, ERROR, PRODUCER, Seen

TRACE, SEND, ATTEMPT = b"t" * 16, b"s" * 8, b"a" * 8
TOLD = Told(2, "failure", "add", "id", (End("failure", "ValueError", "it broke"),))


def _span(kind, span_id, parent, name, **said):
    span = Span(
        trace_id=TRACE, span_id=span_id, parent_span_id=parent, name=name, kind=kind,
        start_time_unix_nano=10**9, end_time_unix_nano=2 * 10**9,
    )  # fmt: skip
    texts = {
        "messaging.message.id": "id",
        "messaging.system": "redis",
        "messaging.destination.name": "matrix",
        "messaging.operation.type": "process",
        **said,
    }
    for key, value in texts.items():
        span.attributes.add(key=key).value.string_value = value
    return span


@pytest.fixture
def seen():
    send = _span(PRODUCER, SEND, b"", "send add")
    said = {"celery.outcome": "failure", "error.type": "ValueError"}
    attempt = _span(CONSUMER, ATTEMPT, SEND, "process add", **said)
    attempt.status.code, attempt.status.message = ERROR, "it broke"
    line = {
        "timestamp": "1", "event": "task.failed", "task": "add", "task_id": "id",
        "outcome": "failure", "error_type": "ValueError", "error": "it broke", "duration": 1.0,
        "trace_id": TRACE.hex(), "span_id": ATTEMPT.hex(),
    }  # fmt: skip
    labels = {"task": "add", "outcome": "failure", "error_type": "ValueError"}
    sample = Sample("celery_task_results_total", labels, 1.0, None, None)
    return Seen([send, attempt], {SEND: "web", ATTEMPT: "worker"}, [line], [sample])


def _false(seen, told=TOLD):
    found = [*problems(told, seen), *(problem for _, problem in counts([told], seen))]
    return {problem.cell for problem in found}


def test_what_is_told_as_it_was_has_no_false_cell(seen):
    assert _false(seen) == set()


def _no_status(seen):
    seen.spans[1].status.code = 0


def _twice(seen):
    again = copy.deepcopy(seen.spans[1])
    again.span_id = b"b" * 8
    seen.spans.append(again)


def _two_lines(seen):
    seen.lines.append(dict(seen.lines[0]))


def _other_line(seen):
    seen.lines[0]["outcome"] = "success"


def _other_duration(seen):
    seen.lines[0]["duration"] = 3.0


def _not_counted(seen):
    seen.samples.clear()


def _orphan(seen):
    seen.spans[1].parent_span_id = b""


def _no_cause(seen):
    seen.spans[1].status.message = ""


@pytest.mark.parametrize(
    ("change", "cell"),
    [
        (_no_status, "span"),
        (_twice, "span"),
        (_two_lines, "log"),
        (_other_line, "log"),
        (_other_duration, "log"),
        (_not_counted, "count"),
        (_orphan, "parent"),
        (_no_cause, "cause"),
    ],
)
def test_what_is_told_wrongly_is_a_false_cell(seen, change, cell):
    change(seen)
    assert cell in _false(seen)


def test_nothing_seen_is_false_everywhere():
    assert _false(Seen([], {}, [], [])) == set(CELLS)


def test_a_redelivery_that_is_not_marked_or_linked_is_false(seen):
    again = copy.deepcopy(seen.spans[1])
    again.span_id, again.start_time_unix_nano = b"b" * 8, 10**9 + 1
    seen.spans.append(again)
    twice = replace(TOLD, ends=(TOLD.ends[0], replace(TOLD.ends[0], redelivered=True)))
    assert {"span", "parent"} <= _false(seen, twice)
