"""JSON for machines, colours for people, and no text of a stranger that passes for a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
import structlog
from opentelemetry import trace

Configure = Callable[..., None]
Capsys = pytest.CaptureFixture[str]

FORGED = [
    "a\nb",
    "a\r\nb",
    "\u2028\u2029",
    "\x1b[31mred\x1b[2J",
    "nul \x00 and bell \x07",
    '{"event": "forged"}',
    '"}\n{"event": "forged"}',
    "\u202egpj.exe",
    "\ud800",
]


@pytest.mark.parametrize("text", FORGED, ids=range(len(FORGED)))
def test_a_forged_text_stays_one_line_of_json(configured: Configure, capsys: Capsys, text: str):
    configured("json", "info", "svc")
    logging.getLogger("x").warning("%s", text)
    structlog.get_logger("x").warning("named", **{text: text})
    for line in capsys.readouterr().out.splitlines():
        assert line.isascii()
        found = json.loads(line)
        assert text in (found["event"], found.get(text))


@pytest.mark.parametrize("text", FORGED, ids=range(len(FORGED)))
def test_a_forged_text_is_one_line_on_the_console(configured: Configure, capsys: Capsys, text: str):
    configured("console", "info", "svc")
    structlog.get_logger("x").warning(text, value=text, nested={"a": text}, **{text: 1})
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert out[:-1].isprintable()


def test_a_traceback_on_the_console_can_not_forge_a_line(configured: Configure, capsys: Capsys):
    configured("console", "info", "svc")
    error = ValueError("first\n12:00:00.000 [info     ] forged\x1b[2J")
    structlog.get_logger("x").error("failed", exc_info=error)
    first, *rest = capsys.readouterr().out.splitlines()
    assert "failed" in first
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "ValueError: first" in rest[0]


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
    capsys: Capsys,
    configured: Configure,
    env: dict[str, str],
    coloured: bool,
):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    configured("console", "info", "svc")
    structlog.get_logger("x").info("hello")
    assert ("\x1b[" in capsys.readouterr().out) is coloured


def test_the_console_shows_a_line_with_what_people_look_for(configured: Configure, capsys: Capsys):
    configured("console", "info", "svc")
    context = trace.SpanContext(1, 2, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        structlog.get_logger("x").info("hello", n=1)
    (line,) = capsys.readouterr().out.splitlines()
    assert line[2] == ":"
    assert line.endswith(f"n=1 service=svc trace_id={trace.format_trace_id(1)}")


def test_auto_is_json_where_no_terminal_is(
    monkeypatch: pytest.MonkeyPatch, configured: Configure, capsys: Capsys
):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    configured("auto", "info", "svc")
    structlog.get_logger("x").info("hello")
    assert json.loads(capsys.readouterr().out)["event"] == "hello"


def test_levels_below_the_setting_are_left_out(configured: Configure, capsys: Capsys):
    configured("json", "warning", "svc")
    structlog.get_logger("x").info("no")
    logging.getLogger("x").info("no")
    structlog.get_logger("x").warning("yes")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "yes"
