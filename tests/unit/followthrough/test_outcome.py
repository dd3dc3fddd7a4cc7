"""One table decides how a task ended."""

from __future__ import annotations

import typing

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from billiard.exceptions import WorkerLostError as Lost
from celery.exceptions import ChordError, Ignore, Reject, Retry

from followthrough.outcome import (
    SAID,
    TELLING,
    Kind,
    Outcome,
    RequestOutcome,
    decide,
    decide_request,
)


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("said", "cause", "expected"),
    [
        ("SUCCESS", None, Outcome("success")),
        ("SUCCESS", ValueError("a result, not an error"), Outcome("success")),
        ("FAILURE", ValueError("x"), Outcome("failure", "ValueError", "x")),
        ("FAILURE", MemoryError(), Outcome("failure", "MemoryError")),
        (
            "FAILURE",
            SoftTimeLimitExceeded(),
            Outcome("failure", "SoftTimeLimitExceeded", "SoftTimeLimitExceeded()"),
        ),
        ("FAILURE", Lost("of his own"), Outcome("failure", "WorkerLostError", "of his own")),
        ("RETRY", Retry(exc=KeyError("k")), Outcome("retry", "KeyError", "'k'")),
        ("RETRY", Retry("later"), Outcome("retry")),
        ("IGNORED", Ignore(), Outcome("ignored")),
        ("REJECTED", Reject(OSError("o")), Outcome("rejected", "OSError", "o")),
        ("REJECTED", Reject("plain"), Outcome("rejected")),
        ("REJECTED", Reject(OSError("o"), requeue=True), Outcome("requeued", "OSError", "o")),
        ("REVOKED", None, Outcome("revoked")),
        ("task_unknown", None, Outcome("unregistered", "NotRegistered")),
        ("task_rejected", ValueError("b"), Outcome("undecodable", "ValueError", "b")),
        ("task_internal_error", OSError("r"), Outcome("not_stored", "OSError", "r")),
        ("publish_failed", OSError("b"), Outcome("publish_failed", "OSError", "b")),
        ("quarantined", None, Outcome("quarantined", "Quarantined")),
        ("abandoned", ChordError("c"), Outcome("abandoned", "ChordError", "c")),
        (None, SystemExit(3), Outcome("failure", "SystemExit", "3")),
        ("MADE_UP", None, Outcome("failure")),
    ],
)
def test_what_is_said_is_one_outcome(said: str | None, cause: object, expected: Outcome) -> None:
    assert decide(said, cause) == expected


@pytest.mark.parametrize(
    ("said", "cause", "expected"),
    [
        ("FAILURE", Lost("signal 9"), Outcome("lost", "WorkerLostError", "signal 9")),
        ("FAILURE", TimeLimitExceeded(1), Outcome("failure", "TimeLimitExceeded", "(1,)")),
        ("RETRY", Retry(exc=Lost("s")), Outcome("retry", "WorkerLostError", "s")),
        (None, None, Outcome("lost", "ProcessLost")),
    ],
)
def test_only_another_process_can_say_that_the_task_s_own_was_lost(
    said: str | None, cause: object, expected: Outcome
) -> None:
    found = decide(said, cause, by="main")
    assert (found.kind, found.error_type) == (expected.kind, expected.error_type)


def test_how_it_was_revoked_wins_over_the_state() -> None:
    assert decide("REVOKED", expired=True) == Outcome("expired", "Expired")
    cause = Terminated("signal 15")
    assert decide("REVOKED", cause, terminated=True) == Outcome(
        "terminated", "Terminated", "signal 15"
    )


def test_a_message_that_cannot_be_shown_breaks_nothing() -> None:
    assert decide("FAILURE", Unprintable()).message == "<Unprintable that can't be shown>"


def test_a_message_is_bounded() -> None:
    assert len(decide("FAILURE", ValueError("x" * 10_000)).message) == 1000


def test_each_kind_is_told_by_an_event_of_its_own() -> None:
    assert set(TELLING) == set(typing.get_args(Kind)) >= set(SAID.values())
    assert len({telling.event for telling in TELLING.values()}) == len(TELLING)


def test_what_is_an_error_is_never_told_below_warning() -> None:
    assert {t.level for t in TELLING.values() if t.is_error} == {"warning", "error"}
    failure = Outcome("failure")
    assert (failure.level, failure.event, failure.is_error) == ("error", "task.failed", True)
    assert failure.alertable
    retry = Outcome("retry")
    assert (retry.level, retry.event, retry.is_error) == ("warning", "task.retried", False)
    assert not retry.alertable


def test_an_answer_has_the_same_outcome_each_time() -> None:
    assert decide_request(200) is decide_request(200)
    assert decide_request(404) == RequestOutcome("refused", 404)
    assert decide_request(200) == RequestOutcome("success", 200)
