"""What a turn must have brought to count, and how kits are set beside each other."""

from __future__ import annotations

import pytest

from bench.overhead.figures import Spread, Turn, problem, rows, spread


@pytest.mark.parametrize(
    ("spans", "least", "words"),
    [
        ({"POST /json": 600}, 1, ""),
        ({"POST /publish": 600, "send": 1200}, 2, ""),
        # Opening a connection is a command too, now and then.
        ({"POST /publish": 600, "send": 600, "CLIENT": 4}, 2, ""),
        ({"POST /json": 599}, 1, "{'POST /json': 599}"),
        ({"POST /json": 601}, 1, "{'POST /json': 601}"),
        ({"POST /publish": 600, "send": 300}, 1, "{'send': 300}"),
        ({"POST /publish": 600}, 2, "only ['POST /publish'] came"),
        ({}, 1, "only nothing came"),
    ],
)
def test_a_turn_counts_if_every_span_came(spans, least, words):
    assert words in problem(spans, 600, least)
    assert bool(words) == bool(problem(spans, 600, least))


def test_a_kit_is_set_beside_bare_and_contrib_of_the_same_round():
    turns = [
        *_round(0, bare=300, contrib=600, ours=400),
        # The machine was twice as slow.
        *_round(1, bare=600, contrib=1200, ours=800),
    ]
    ours = next(row for row in rows(turns, ["bare", "contrib", "ours"]) if row.kit == "ours")
    assert ours.ratio == Spread(1 / 3, 1 / 3, 1 / 3, 2)
    assert ours.added is not None
    assert ours.added.median == 150


def test_a_turn_that_lost_spans_is_left_out():
    turns = [
        *_round(0, bare=300, ours=400),
        *_round(1, bare=300),
        Turn("ours", "json", 1, 301, {}, "599 of 600"),
    ]
    ours = next(row for row in rows(turns, ["bare", "ours"]) if row.kit == "ours")
    assert ours.total.count == 1
    assert ours.added is not None
    assert ours.added.median == 100


def test_a_spread_of_one_value_and_of_none():
    assert spread([4.0]) == Spread(4.0, 4.0, 4.0, 1)
    assert spread([]) is None


def _round(number: int, **kits: float) -> list[Turn]:
    return [Turn(kit, "json", number, us, {}) for kit, us in kits.items()]
