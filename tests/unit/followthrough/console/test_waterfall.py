"""How a trace is laid out."""

from __future__ import annotations

import pytest

from followthrough.console.span import Event, Tag
from followthrough.console.waterfall import lay_out

MS = 1_000_000


def shape(waterfall):
    return [(row.span.name, row.depth) for row in waterfall.rows]


def test_children_follow_their_parent_in_order_of_time(make_span):
    spans = [
        make_span(span=4, parent=2, at=3, name="late grandchild"),
        make_span(span=3, parent=1, at=8, name="late child"),
        make_span(span=5, parent=2, at=2, name="early grandchild"),
        make_span(span=2, parent=1, at=1, name="child"),
        make_span(span=1, took=20, name="root"),
    ]
    assert shape(lay_out(spans)) == [
        ("root", 0),
        ("child", 1),
        ("early grandchild", 2),
        ("late grandchild", 2),
        ("late child", 1),
    ]


def test_a_span_whose_parent_is_not_here_follows_the_root_and_says_so(make_span):
    spans = [make_span(span=2, parent=9, at=-5, name="orphan"), make_span(name="root")]
    waterfall = lay_out(spans)
    assert shape(waterfall) == [("root", 0), ("orphan", 0)]
    assert [row.orphan for row in waterfall.rows] == [False, True]
    assert waterfall.root.name == "root"


def test_spans_that_are_each_others_parents_are_shown_too(make_span):
    spans = [make_span(span=1, parent=2), make_span(span=2, parent=1), make_span(span=3, parent=3)]
    assert len(lay_out(spans).rows) == 3


def test_a_trace_deeper_than_pythons_stack_is_laid_out(make_span):
    spans = [make_span(span=number, parent=number - 1) for number in range(1, 3001)]
    assert lay_out(spans).rows[-1].depth == 2999


def test_bars_are_in_percent_of_the_whole(make_span):
    spans = [make_span(took=200), make_span(span=2, parent=1, at=50, took=100)]
    waterfall = lay_out(spans)
    row = waterfall.rows[1]
    assert (waterfall.duration, row.offset) == (200 * MS, 50 * MS)
    assert (row.left, row.width) == (25.0, 50.0)
    assert waterfall.ticks == [
        (0, 0),
        (25, 50 * MS),
        (50, 100 * MS),
        (75, 150 * MS),
        (100, 200 * MS),
    ]


def test_a_trace_that_took_no_time_is_laid_out(make_span):
    assert [(row.left, row.width) for row in lay_out([make_span(took=0)]).rows] == [(0, 0)]


@pytest.mark.parametrize(
    ("at", "took", "label"), [(0, 50, "after"), (0, 100, "inside"), (95, 5, "before")]
)
def test_a_duration_stands_where_there_is_room(make_span, at, took, label):
    spans = [make_span(took=100), make_span(span=2, parent=1, at=at, took=took)]
    assert lay_out(spans).rows[1].label == label


def test_the_wait_between_queueing_and_processing_is_shown(make_span):
    spans = [
        make_span(span=1, at=0, took=10, kind="producer"),
        make_span(span=2, parent=1, at=40, took=60, kind="consumer"),
        make_span(span=3, parent=2, at=50, took=10, kind="client"),
    ]
    queued, processed, called = lay_out(spans).rows
    assert (processed.waited, processed.waited_left) == (30 * MS, 10.0)
    assert (queued.waited, called.waited) == (0, 0)


def test_self_time_is_what_no_child_accounts_for(make_span):
    spans = [
        make_span(took=100),
        make_span(span=2, parent=1, at=10, took=30),
        make_span(span=3, parent=1, at=20, took=40),
        make_span(span=4, parent=1, at=90, took=50),
    ]
    assert lay_out(spans).rows[0].self_time == 40 * MS


def test_an_error_is_told_by_its_status_else_by_its_exception(make_span):
    tags = [Tag("exception.message", "string", "gone"), Tag("exception.type", "string", "Oops")]
    event = Event(make_span().start, "exception", tags)
    told = make_span(status="ERROR", message="why", events=[event])
    untold = make_span(span=2, status="ERROR", events=[event])
    bare = make_span(span=3, status="ERROR")
    caught = make_span(span=4, events=[event])
    waterfall = lay_out([told, untold, bare, caught])
    errors = {row.span.span_id[-1]: row.error for row in waterfall.rows}
    assert errors == {"1": "why", "2": "Oops: gone", "3": "error", "4": ""}
    assert waterfall.errors == 3
