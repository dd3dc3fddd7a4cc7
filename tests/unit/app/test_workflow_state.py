"""What the members' states come to."""

from __future__ import annotations

import pytest
from celery import states
from hypothesis import given
from hypothesis import strategies as st

from app.services import workflow
from app.services.workflow import ENDED, PROGRESS, Member

STATES = [*sorted(ENDED), "PENDING", "RECEIVED", "STARTED", PROGRESS, "RETRY"]
some = st.lists(st.sampled_from(STATES), min_size=1, max_size=12)


def chain(*found):
    """Members, each taking the result of the one before; the last is the whole's id."""
    ids = [str(number) for number in range(len(found))]
    return [Member(i, "t", s, p) for i, s, p in zip(ids, found, [None, *ids], strict=False)]


def of_chain(*found):
    return workflow.state(chain(*found), str(len(found) - 1))


def of_group(*found):
    return workflow.state([Member(str(n), "t", s, None) for n, s in enumerate(found)], "group")


@pytest.mark.parametrize(
    ("found", "whole"),
    [
        (["PENDING", "PENDING"], "PENDING"),
        (["RECEIVED", "PENDING"], "PENDING"),
        (["STARTED", "PENDING"], "PROGRESS"),
        (["SUCCESS", "PENDING"], "PROGRESS"),
        (["RETRY", "PENDING"], "PROGRESS"),
        (["SUCCESS", "SUCCESS"], "SUCCESS"),
        (["FAILURE", "PENDING"], "FAILURE"),
        (["REVOKED", "PENDING"], "REVOKED"),
        (["FAILURE", "REVOKED"], "REVOKED"),
    ],
)
def test_a_chain_ends_with_its_last_task_or_its_first_failure(found, whole):
    assert of_chain(*found) == whole


@pytest.mark.parametrize(
    ("found", "whole"),
    [
        (["FAILURE", "STARTED"], "PROGRESS"),
        (["FAILURE", "SUCCESS"], "FAILURE"),
        (["REVOKED", "SUCCESS"], "REVOKED"),
        (["REVOKED", "FAILURE"], "FAILURE"),
        (["SUCCESS"], "SUCCESS"),
        (["PENDING"], "PENDING"),
    ],
)
def test_a_group_ends_when_all_have_ended(found, whole):
    assert of_group(*found) == whole


@given(some)
def test_it_succeeds_only_with_its_last_task_or_all_of_its_group(found):
    assert (of_chain(*found) == states.SUCCESS) == (found[-1] == states.SUCCESS)
    assert (of_group(*found) == states.SUCCESS) == (set(found) == {states.SUCCESS})


@given(some)
def test_a_group_has_ended_just_when_its_members_have(found):
    assert (of_group(*found) in ENDED) == (set(found) <= ENDED)


@given(some)
def test_what_can_not_go_on_has_ended(found):
    if {states.FAILURE, states.REVOKED} & set(found):
        assert of_chain(*found) in ENDED


@given(some)
def test_progress_counts_what_succeeded(found):
    told = workflow.progress(chain(*found))
    assert told["current"] == found.count(states.SUCCESS)
    assert told["total"] == len(found)
    assert 0 <= told["percent"] <= 100
    assert (told["percent"] == 100) == (set(found) == {states.SUCCESS})


@given(some)
def test_a_failed_chain_has_one_failure(found):
    """Those after it share its error, and never ran."""
    failed = [*[states.SUCCESS] * len(found), *[states.FAILURE] * len(found)]
    assert [each.id for each in workflow.failures(chain(*failed))] == [str(len(found))]
