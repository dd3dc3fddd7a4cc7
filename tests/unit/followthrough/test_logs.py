"""Every line of a process has one form, whoever wrote it."""

from __future__ import annotations

import contextvars
import json
import logging

import pytest
import structlog
from opentelemetry import trace

from followthrough import logs
from followthrough.settings import Settings, load
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


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\u2028", "\x1b[31m", '{"event": "forged"}'])
def test_a_forged_text_stays_one_line(
    told: Captured, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    logs.configure_logs("json", "info", "svc")
    logging.getLogger("x").warning("%s", text)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == text
    assert line.isascii()


def test_secrets_are_masked(told: Captured) -> None:
    structlog.get_logger("x").info("login", password="hunter2", url="redis://:hunter2@host")
    assert "hunter2" not in json.dumps(told.lines)


def test_an_exception_is_part_of_its_line(told: Captured) -> None:
    logging.getLogger("x").error("failed", exc_info=ValueError("x"))
    assert "ValueError: x" in told.lines[0]["exception"]


def test_a_value_json_does_not_know_is_shown_as_text(told: Captured) -> None:
    structlog.get_logger("x").info("odd", value={1, 2})
    assert told.lines[0]["value"] == "{1, 2}"


@pytest.mark.parametrize(
    ("env", "coloured"),
    [
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({}, False),
    ],
)
def test_colour_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    told: Captured,
    env: dict[str, str],
    coloured: bool,
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    logs.configure_logs("console", "info", "svc")
    structlog.get_logger("x").info("hello")
    assert ("\x1b[" in capsys.readouterr().out) is coloured


def test_the_console_shows_a_line_with_what_people_look_for(
    capsys: pytest.CaptureFixture[str], told: Captured
) -> None:
    logs.configure_logs("console", "info", "svc")
    with trace.get_tracer("t").start_as_current_span("s") as span:
        structlog.get_logger("x").info("hello", n=1)
    (line,) = capsys.readouterr().out.splitlines()
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    assert line[2] == ":"
    assert line.endswith(f"n=1 service=svc trace_id={trace_id}")


def test_auto_is_json_where_no_terminal_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: Captured
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    logs.configure_logs("auto", "info", "svc")
    structlog.get_logger("x").info("hello")
    assert json.loads(capsys.readouterr().out)["event"] == "hello"


def test_levels_below_the_setting_are_left_out(
    told: Captured, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure_logs("json", "warning", "svc")
    structlog.get_logger("x").info("no")
    logging.getLogger("x").info("no")
    structlog.get_logger("x").warning("yes")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "yes"


def test_a_dead_collector_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("followthrough.logs.time.monotonic", lambda: now[0])
    rarely = logs.Rarely()
    record = logging.LogRecord("opentelemetry.sdk", 30, "", 0, "failed %s", ("x",), None)
    host = logging.LogRecord("host", 30, "", 0, "failed", (), None)
    seen = [rarely.filter(record), rarely.filter(record), rarely.filter(host), rarely.filter(host)]
    assert seen == [True, False, True, True]
    now[0] += 61
    assert rarely.filter(record)


def test_the_settings_name_the_service() -> None:
    settings = load(Settings, {"OTEL_SERVICE_NAME": "named", "FOLLOWTHROUGH_LOG_LEVEL": "error"})
    config = logs.dict_config(settings, "fallback")
    assert config["formatters"]["followthrough"]["service"] == "named"
    assert config["root"]["level"] == "ERROR"
