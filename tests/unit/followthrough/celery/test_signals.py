"""A hot signal is sent to our hook directly, and otherwise as Celery sends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals as stock
from celery.app import trace

from followthrough.celery import signals

HOT = [stock.task_prerun, stock.task_postrun, stock.before_task_publish, stock.after_task_publish]


class Hook:
    """A receiver that may fail."""

    __name__ = "hook"

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._error = error

    def __call__(self, **given: Any) -> None:
        self.calls.append(given)
        if self._error is not None:
            raise self._error


@pytest.fixture
def connect() -> Iterator[Callable[[Any, Any], None]]:
    yield lambda signal, hook: signals.connect(signal, hook, is_hot=True)
    signals.disconnect()


@pytest.mark.parametrize("signal", HOT, ids=lambda signal: signal.name)
def test_what_a_signal_says_comes_the_same_by_both_ways(signal: Any, connect: Any) -> None:
    hook, other, said = Hook(), Hook(), {"task_id": "id-1", "retval": 1}
    connect(signal, hook)
    direct = signal.send("sender", **said)
    signal.connect(other, weak=False)
    try:
        assert signal.send("sender", **said) == [*direct, (other, None)]
    finally:
        signal.disconnect(other)
    assert direct == [(hook, None)]
    # But for which signal it is, which none of ours asks.
    assert hook.calls == [{"sender": "sender", **said}, {"signal": signal, **hook.calls[0]}]
    assert other.calls == hook.calls[1:]


@pytest.mark.parametrize("is_alone", [True, False])
def test_what_a_hook_raises_is_logged_and_goes_no_further(
    connect: Any, caplog: pytest.LogCaptureFixture, is_alone: bool
) -> None:
    error = SoftTimeLimitExceeded()
    hook, other = Hook(error), Hook()
    connect(stock.task_prerun, hook)
    if not is_alone:
        stock.task_prerun.connect(other, weak=False)
    try:
        assert stock.task_prerun.send("sender")[0] == (hook, error)
    finally:
        stock.task_prerun.disconnect(other)
    (record,) = caplog.records
    assert (record.name, record.msg) == (
        "celery.utils.dispatch.signal",
        "Signal handler %r raised: %r",
    )


def test_nothing_is_left_once_disconnected(connect: Any) -> None:
    before = [signal.send for signal in HOT], trace.send_prerun, trace.send_postrun
    for signal in HOT:
        connect(signal, Hook())
    kept = stock.task_prerun.send
    assert trace.send_prerun is kept
    signals.disconnect()
    assert before == ([signal.send for signal in HOT], trace.send_prerun, trace.send_postrun)
    # Of whoever had asked for it meanwhile.
    assert kept("sender") == []
