"""One table decides how a task ended."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore, Reject, Retry

from followthrough.outcome import STATES, TELLING, Outcome, decide


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("state", "exception", "expected"),
    [
        ("SUCCESS", None, Outcome("success")),
        ("SUCCESS", ValueError("a result, not an error"), Outcome("success")),
        ("FAILURE", ValueError("x"), Outcome("failure", "ValueError", "x")),
        ("FAILURE", "NotRegistered", Outcome("failure", "NotRegistered", "NotRegistered")),
        ("RETRY", Retry(exc=KeyError("k")), Outcome("retry", "KeyError", "'k'")),
        ("RETRY", Retry("later"), Outcome("retry")),
        ("IGNORED", Ignore(), Outcome("ignored")),
        ("REJECTED", Reject(OSError("o")), Outcome("rejected", "OSError", "o")),
        ("REJECTED", Reject("plain"), Outcome("rejected")),
        ("REVOKED", None, Outcome("revoked")),
        (None, SystemExit(3), Outcome("failure", "SystemExit", "3")),
        ("MADE_UP", None, Outcome("failure")),
    ],
)
def test_each_state_is_one_outcome(state: str | None, exception: object, expected: Outcome) -> None:
    assert decide(state, exception) == expected


def test_expiry_wins_over_the_state() -> None:
    assert decide("REVOKED", expired=True).kind == "expired"


def test_a_message_that_cannot_be_shown_breaks_nothing() -> None:
    assert decide("FAILURE", Unprintable()).message == "<Unprintable that can't be shown>"


def test_a_message_is_bounded() -> None:
    assert len(decide("FAILURE", ValueError("x" * 10_000)).message) == 1000


def test_every_kind_has_a_level_an_event_and_a_decision_on_alerts() -> None:
    assert set(STATES.values()) <= set(TELLING)
    told = {kind: (o.level, o.event, o.alertable) for kind in TELLING for o in [Outcome(kind)]}
    assert told["failure"] == ("error", "task.failed", True)
    assert told["success"] == ("info", "task.succeeded", False)
    assert told["retry"] == ("warning", "task.retried", False)
    assert told["expired"] == ("warning", "task.revoked", True)
