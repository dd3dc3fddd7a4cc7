"""A line that is put together from kept texts is the one that the chain would make."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context, attach, detach

from followthrough import logs, redact, tell
from followthrough.logs import chain, context, output, records, usual
from followthrough.outcome import TELLING, Outcome, RequestOutcome, decide_request
from followthrough.testing import Captured
from tests.support.lines import alone

IDS: dict[str, Any] = {"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "2"}
IN_A_TASK = {"task_id": "t1", "task": "shop.pay", "attempt": 1, "queue": "celery"}


@pytest.fixture
def lines(told: Captured, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What is written, as bytes."""
    monkeypatch.setattr("time.time_ns", lambda: 1_764_100_000_123_456_789)
    for name in ("observe_task", "observe_request", "requests", "tasks"):
        monkeypatch.setattr(f"followthrough.metrics.{name}", Uncounted)
    # As where structlog's variables were never used: what was bound once stays in there.
    variables: dict[str, Any] = {}
    monkeypatch.setattr(context, "of_structlog", variables)
    monkeypatch.setattr(structlog.contextvars, "_CONTEXT_VARS", variables)
    found: list[bytes] = []
    before = output.give(found.append)
    yield found
    output.give(before)


class Uncounted:
    """Series of labels that are anything."""

    def __init__(self, *_: Any) -> None:
        self.add = lambda _seconds: None


@contextlib.contextmanager
def carried(fields: dict[str, Any]) -> Iterator[None]:
    token = attach(logs.carrying(Context(), **fields))
    try:
        yield
    finally:
        detach(token)


def both(lines: list[bytes], telling: Callable[[], None]) -> tuple[bytes, bytes]:
    """The line as it is written, and as the chain alone writes it."""
    lines.clear()
    with alone(), pytest.MonkeyPatch.context() as patch:
        telling()
        patch.setattr(usual.Usual, "look", lambda _: False)
        for each in (tell._usual_request, tell._usual_task):
            patch.setattr(each, "seen", None)
        telling()
    ours, chains = lines
    return ours, chains


def pay(outcome: Outcome | None = None, **changes: Any) -> None:
    about: dict[str, Any] = {"task_id": "t1", "seconds": 0.0123, "wait": 0.004, **IDS, **changes}
    with alone():
        tell.task(outcome or Outcome("success"), "shop.pay", **about)


def answer(outcome: RequestOutcome | None = None, method: str = "GET", **changes: Any) -> None:
    about: dict[str, Any] = {"request_id": "r1", "seconds": 0.0123, **IDS, **changes}
    with alone():
        tell.request(outcome or decide_request(200), method, "/users/<id>", **about)


hex_of = {size: st.text("0123456789abcdef", min_size=size, max_size=size) for size in (16, 32)}
ids = st.fixed_dictionaries(
    {}, optional={"trace_id": hex_of[32] | st.just(""), "span_id": hex_of[16]}
)
seconds = st.floats(0, 1e9)
values = st.text() | st.integers() | st.booleans() | st.none() | st.floats()
beside = st.dictionaries(
    st.sampled_from([*IN_A_TASK, *IDS, "request_id", "wait", "level", "event", "password", "error"])
    | st.text(),
    values,
    max_size=5,
) | st.fixed_dictionaries({"attempt": st.integers(1, 9), "queue": st.text()})
hypothesis = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@hypothesis
@given(
    st.builds(decide_request, st.integers(0, 999), st.none() | st.just(ValueError("no"))),
    st.fixed_dictionaries(
        {"method": st.text(), "route": st.text(), "request_id": st.text(), "seconds": seconds},
        optional={"service": st.text()},
    ),
    ids,
    beside,
)
def test_the_line_of_a_request_is_the_chains(
    lines: list[bytes],
    outcome: RequestOutcome,
    about: dict[str, Any],
    ids: dict[str, Any],
    beside: dict[str, Any],
) -> None:
    with carried(beside):
        ours, chains = both(lines, lambda: tell.request(outcome, **about, **ids))
    assert ours == chains


@hypothesis
@given(
    st.builds(
        Outcome,
        st.sampled_from(sorted(TELLING)),
        st.just("") | st.text(),
        st.just("") | st.text(),
        st.booleans(),
    ),
    st.fixed_dictionaries(
        {
            "name": st.text(),
            "task_id": st.text(),
            "seconds": st.none() | seconds,
            "wait": st.none() | st.floats(),
        },
        optional={"service": st.text(), "queue": values, "exception": st.just(ValueError("no"))},
    ),
    ids,
    beside,
)
def test_the_line_of_a_task_is_the_chains(
    lines: list[bytes],
    outcome: Outcome,
    about: dict[str, Any],
    ids: dict[str, Any],
    beside: dict[str, Any],
) -> None:
    with carried(beside):
        ours, chains = both(lines, lambda: tell.task(outcome, **about, **ids))
    assert ours == chains


@pytest.mark.parametrize(("telling", "around"), [(answer, {"request_id": "r1"}), (pay, IN_A_TASK)])
def test_a_usual_line_costs_the_chain_nothing(
    lines: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    telling: Callable[[], None],
    around: dict[str, Any],
) -> None:
    with carried(around):
        telling()
        monkeypatch.setattr(redact, "fields", lambda _fields: 1 / 0)
        lines.clear()
        telling()
    assert json.loads(lines[0]).items() >= {**around, **IDS, "duration": 0.0123}.items()


def test_what_is_bound_is_in_the_line(lines: list[bytes]) -> None:
    answer()
    bound = logs.bind(shop=7)
    ours, chains = both(lines, answer)
    logs.unbind(bound)
    assert ours == chains
    assert json.loads(ours)["shop"] == 7


def test_what_structlog_has_bound_is_in_the_line_until_it_is_cleared(lines: list[bytes]) -> None:
    answer()
    with structlog.contextvars.bound_contextvars(shop=7):
        ours, chains = both(lines, answer)
        assert ours == chains
        assert json.loads(ours)["shop"] == 7
    answer()
    assert "shop" not in json.loads(lines[-1])


def test_a_structlog_whose_variables_are_elsewhere_is_asked_each_time(
    lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "of_structlog", None)
    with structlog.contextvars.bound_contextvars(shop=7):
        answer()
    assert json.loads(lines[0])["shop"] == 7


def test_another_service_is_named_at_once(lines: list[bytes]) -> None:
    answer()
    chain.use("other", json=True)
    answer()
    assert [json.loads(line)["service"] for line in lines] == ["test", "other"]


def test_the_form_for_people_is_the_chains(lines: list[bytes]) -> None:
    chain.use("test", json=False)
    ours, chains = both(lines, pay)
    assert ours == chains
    assert b"task=shop.pay outcome=success" in ours


def test_a_level_that_is_not_wanted_is_not_written(lines: list[bytes]) -> None:
    logger = logging.getLogger("followthrough.flask")
    logger.setLevel("WARNING")
    try:
        answer()
        answer(RequestOutcome("failure", 500))
    finally:
        logger.setLevel("NOTSET")
    assert [json.loads(line)["status"] for line in lines] == [500]


@pytest.mark.parametrize("name", ["setLevel", "disabled", "disable", "other level"])
def test_what_silences_a_logger_does_so_at_once_and_no_longer(
    lines: list[bytes], name: str
) -> None:
    logger = logging.getLogger("followthrough.flask")
    changes: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "setLevel": (lambda: logger.setLevel("ERROR"), lambda: logger.setLevel("NOTSET")),
        "disabled": (
            lambda: setattr(logger, "disabled", True),
            lambda: setattr(logger, "disabled", False),
        ),
        "disable": (lambda: logging.disable(logging.INFO), lambda: logging.disable(logging.NOTSET)),
        "other level": (
            lambda: (logger.isEnabledFor(25), logging.getLogger().setLevel("ERROR")),
            lambda: logging.getLogger().setLevel("DEBUG"),
        ),
    }
    silence, undo = changes[name]
    answer(request_id="1")
    try:
        silence()
        answer(request_id="2")
        answer(request_id="3")
    finally:
        undo()
    answer(request_id="4")
    answer(request_id="5")
    assert [json.loads(line)["request_id"] for line in lines] == ["1", "4", "5"]


def test_the_structlog_of_the_host_gets_the_line(lines: list[bytes]) -> None:
    answer()
    with structlog.testing.capture_logs() as captured:
        answer()
    assert [each["event"] for each in captured] == ["request.finished"]
    answer()
    assert len(lines) == 2


def test_other_handlers_and_log_records_get_the_line_too(
    lines: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    class Recorder:
        def log(self, *about: Any, **_ids: int) -> None:
            told.append(about)

    answer()
    records.use(Recorder())  # type: ignore[arg-type]
    try:
        answer(method="PUT")
        answer()
    finally:
        records.use(None)
    answer()
    tell.request(decide_request(200), "GET", "/users/<id>", "r1", 0.0123, **IDS)
    assert [each[2] for each in told] == ["request.finished"] * 2
    assert [each.getMessage().split()[0] for each in caplog.records] == ["request.finished"]
    assert len(lines) == 5


def test_a_logger_with_a_way_of_its_own_to_know_its_level_is_asked_each_time(
    lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [True]
    logger = logging.getLogger("followthrough.flask")
    monkeypatch.setattr(logger, "isEnabledFor", lambda _level: wanted[0])
    monkeypatch.setattr(logger, "_cache", {})
    for wanted[0] in (True, False, True):
        answer()
    assert len(lines) == 2


def test_kept_texts_do_not_grow_without_end(
    lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usual, "MOST", 3)
    for n in range(10):
        with alone():
            tell.request(decide_request(200), "GET", f"/{n}", "r1", 0.1, **IDS)
        assert len(tell._usual_request.kept) <= 3
    assert [json.loads(line)["route"] for line in lines] == [f"/{n}" for n in range(10)]


def test_a_number_is_not_taken_for_its_equal(lines: list[bytes]) -> None:
    for attempt in (1, True, 1.0):
        with carried(IN_A_TASK | {"attempt": attempt}):
            ours, chains = both(lines, pay)
        assert ours == chains


@pytest.mark.parametrize("wait", [math.nan, math.inf, -1.0])
def test_a_wait_that_is_none_is_the_chains(lines: list[bytes], wait: float) -> None:
    ours, chains = both(lines, lambda: pay(wait=wait))
    assert ours == chains


@hypothesis
@given(seconds)
def test_a_duration_is_in_whole_microseconds(lines: list[bytes], seconds: float) -> None:
    lines.clear()
    answer(seconds=seconds)
    told = json.loads(lines[0])["duration"]
    assert abs(told - seconds) <= 0.5e-6 + 2 * math.ulp(seconds)
    assert told == round(told, 6)
