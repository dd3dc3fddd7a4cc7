"""A breaker lets one call in a pause try, while a service is down."""

from __future__ import annotations

import pytest

from app.services.breaker import PAUSE, Breaker, UnreachableError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("broker", (OSError,), clock)


def fail(breaker):
    with pytest.raises(UnreachableError, match="The broker does not answer"), breaker():
        raise OSError


def is_tried(breaker):
    """Whether a call that works gets through."""
    tried = False
    try:
        with breaker():
            tried = True
    except UnreachableError:
        pass
    return tried


def test_calls_go_through_while_all_is_well(breaker):
    assert is_tried(breaker)
    assert is_tried(breaker)


def test_after_a_failure_calls_fail_without_being_tried(breaker, clock):
    fail(breaker)
    assert not is_tried(breaker)
    clock.now = PAUSE - 0.01
    assert not is_tried(breaker)


def test_after_a_pause_one_call_tries_and_opens_the_way(breaker, clock):
    fail(breaker)
    clock.now = PAUSE
    assert is_tried(breaker)
    assert is_tried(breaker)


def test_only_one_call_tries_at_a_time(breaker, clock):
    """While it waits for its answer, the others fail at once."""
    fail(breaker)
    clock.now = PAUSE
    with breaker():
        assert not is_tried(breaker)
    assert is_tried(breaker)


def test_a_try_that_fails_begins_the_next_pause(breaker, clock):
    fail(breaker)
    clock.now = PAUSE
    fail(breaker)
    assert not is_tried(breaker)


def test_other_errors_are_not_its_business(breaker):
    with pytest.raises(KeyError), breaker():
        raise KeyError
    assert is_tried(breaker)
