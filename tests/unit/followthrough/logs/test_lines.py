"""Every line of a process has one form, whoever wrote it."""

from __future__ import annotations

import contextvars
import json
import logging
import re

import pytest
import structlog
from opentelemetry import trace

from followthrough import guard, logs
from followthrough.logs import stdlib
from followthrough.testing import Captured


def test_a_line_carries_the_ids_of_its_span_and_its_context(told: Captured) -> None:
    with (
        structlog.contextvars.bound_contextvars(request_id="r1"),
        trace.get_tracer("t").start_as_current_span("s") as span,
    ):
        structlog.get_logger("ours").info("hello", n=1)
        logging.getLogger("theirs").warning("hello %s", "there")
    ours, theirs = told.lines
    context = span.get_span_context()
    for line in (ours, theirs):
        assert line["trace_id"] == trace.format_trace_id(context.trace_id)
        assert line["span_id"] == trace.format_span_id(context.span_id)
        assert line["request_id"] == "r1"
        assert line["service"] == "test"
    assert (ours["event"], ours["n"], ours["level"]) == ("hello", 1, "info")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == (
        "hello there",
        "theirs",
        "warning",
    )


def test_bound_fields_are_on_each_line_until_they_are_unbound(told: Captured) -> None:
    outer = logs.bind(task_id="t1", task="a")
    inner = logs.bind(task_id="t2")
    structlog.get_logger("ours").info("inside")
    structlog.get_logger("ours").info("its own", task_id="t3")
    logs.unbind(inner)
    logging.getLogger("theirs").warning("outside")
    logs.unbind(outer)
    structlog.get_logger("ours").info("after")
    assert [line.get("task_id") for line in told.lines] == ["t2", "t3", "t1", None]
    assert [line.get("task") for line in told.lines] == ["a", "a", "a", None]


def test_unbinding_in_another_context_does_nothing() -> None:
    bound = contextvars.copy_context().run(logs.bind, task_id="t1")
    logs.unbind(bound)


def test_a_line_outside_a_span_has_no_ids(told: Captured) -> None:
    structlog.get_logger("ours").info("alone")
    assert "trace_id" not in told.lines[0]


def test_secrets_are_masked(told: Captured) -> None:
    structlog.get_logger("x").info("login", password="hunter2", url="redis://:hunter2@host")
    assert "hunter2" not in json.dumps(told.lines)


def test_a_value_json_does_not_know_is_shown_as_text(told: Captured) -> None:
    structlog.get_logger("x").info("odd", value={1, 2})
    assert told.lines[0]["value"] == "{1, 2}"


class Hostile:
    def __repr__(self) -> str:
        raise ValueError("no")

    __str__ = __repr__


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 10**5000, {(1, 2): 3}, {1: {None: float("nan")}}, b"x", Hostile()],
    ids=["nan", "inf", "huge", "tuple key", "odd keys", "bytes", "hostile"],
)
def test_any_value_gives_a_line_that_any_parser_reads(told: Captured, value: object) -> None:
    structlog.get_logger("x").info("odd", value=value, more=[value], other=1)
    logging.getLogger("x").info("odd", extra={"value": value, "other": 1})
    for line in told.lines:
        assert (line["event"], line["other"]) == ("odd", 1)
        assert "NaN" not in json.dumps(line).replace('"nan"', "")


def test_arguments_that_do_not_fit_their_text_are_shown_beside_it(told: Captured) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "%d of %d", ("one", Hostile()), None)
    stdlib.Handler().handle(record)
    assert told.lines[0]["event"].startswith("%d of %d ")


def test_an_own_trace_id_never_meets_the_id_of_another_span(told: Captured) -> None:
    with trace.get_tracer("t").start_as_current_span("s"):
        structlog.get_logger("x").info("hello", trace_id="1" * 32)
    assert told.lines[0]["trace_id"] == "1" * 32
    assert "span_id" not in told.lines[0]


def test_the_first_fields_are_what_people_read_first(told: Captured) -> None:
    structlog.get_logger("x").info("hello", a=1, method="GET", logger_name="n")
    assert list(told.lines[0])[:5] == ["timestamp", "level", "event", "logger", "service"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", told.lines[0]["timestamp"])


def test_levels_are_those_of_the_standard_logger_of_that_name(told: Captured) -> None:
    logging.getLogger("quiet").setLevel("ERROR")
    structlog.get_logger("quiet").warning("no")
    structlog.get_logger("quiet").error("yes")
    structlog.get_logger("loud").debug("yes")
    logging.getLogger("quiet").setLevel("NOTSET")
    assert [line["event"] for line in told.lines] == ["yes", "yes"]


def test_extras_of_a_record_are_fields(told: Captured) -> None:
    logging.getLogger("x").info("hello", extra={"order": 7})
    logging.getLogger("celery.app.trace").info("hello", extra={"data": {"args": "(1,)"}})
    assert [line.get("order") for line in told.lines] == [7, None]
    assert "data" not in told.lines[1]


def test_a_failure_in_the_chain_still_gives_a_line(
    told: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "strict", False)
    monkeypatch.setattr("followthrough.redact.fields", lambda _fields: 1 / 0)
    structlog.get_logger("x").info("hello")
    assert (told.lines[0]["event"], told.lines[0]["log_error"]) == ("hello", "ZeroDivisionError")


def test_a_line_that_is_written_at_once_is_the_one_that_structlog_would_write(
    told: Captured,
) -> None:
    told.lines.clear()
    bound = logs.bind(task_id="t1")
    structlog.get_logger("ours").warning("odd", password="hush", value={1})
    logs.line("ours", "warning", "odd", password="hush", value={1})
    logging.getLogger("quiet").setLevel("ERROR")
    logs.line("quiet", "warning", "odd")
    logs.unbind(bound)
    slow, fast = [{**line, "timestamp": ""} for line in told.lines]
    assert fast == slow


def test_a_line_goes_through_the_structlog_of_the_host(told: Captured) -> None:
    with structlog.testing.capture_logs() as captured:
        logs.line("ours", "warning", "odd", value=1)
    assert captured == [{"value": 1, "event": "odd", "log_level": "warning"}]
    assert told.lines == []
