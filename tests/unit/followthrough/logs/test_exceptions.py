"""An exception is data on its line: types, messages and places, bounded, without variables."""

from __future__ import annotations

import json
import logging
from typing import Any

import structlog

from followthrough.logs import exceptions
from followthrough.testing import Captured


def caught(raise_it: Any) -> BaseException:
    try:
        raise_it()
    except BaseException as error:  # noqa: BLE001  whatever it is
        return error
    raise AssertionError


def chained() -> None:
    local_secret = "hunter2"  # noqa: F841  what no line may show
    try:
        deep(-1)
    except KeyError as error:
        raise ValueError("second") from error


def test_an_exception_is_type_message_frames_and_causes(told: Captured):
    structlog.get_logger("x").error("failed", exc_info=caught(chained))
    logging.getLogger("x").error("failed", exc_info=caught(chained))
    for line in told.lines:
        found = line["exception"]
        assert (found["type"], found["message"]) == ("ValueError", "second")
        assert found["frames"][-1]["function"] == "chained"
        assert found["frames"][-1]["file"] == __file__
        assert found["frames"][-1]["line"] > 1
        (cause,) = found["causes"]
        assert (cause["type"], cause["message"], cause["how"]) == ("KeyError", "'first'", "cause")
        assert "hunter2" not in json.dumps(line)


def test_exc_info_may_be_true_and_mean_nothing(told: Captured):
    structlog.get_logger("x").error("failed", exc_info=True)
    try:
        deep(0)
    except ValueError:
        structlog.get_logger("x").exception("failed")
    assert [("exception" in line) for line in told.lines] == [False, True]


def test_a_class_of_a_module_is_told_with_it():
    error = json.JSONDecodeError("no", "", 0)
    assert exceptions.described(error)["type"] == "json.decoder.JSONDecodeError"


def deep(n: int) -> None:
    if n < 0:
        raise KeyError("first")
    if n:
        deep(n - 1)
    raise ValueError("deep")


def long_chain() -> BaseException:
    error: BaseException = ValueError("0")
    for n in range(50):
        error.__cause__, error = None, ValueError(str(n + 1))
        error.__cause__ = ValueError("x" * 100_000)
    current = error
    for n in range(50):
        current.__cause__ = ValueError(str(n))
        current = current.__cause__
    return error


def nested_group(depth: int) -> BaseException:
    if not depth:
        return ValueError("x" * 5000)
    return ExceptionGroup("group", [nested_group(depth - 1) for _ in range(8)])  # type: ignore[type-var]


def test_frames_causes_messages_and_members_are_bounded():
    frames = exceptions.described(caught(lambda: deep(200)))["frames"]
    assert len(frames) == exceptions.FRAMES
    assert [frame["function"] for frame in (frames[0], frames[-1])] == ["caught", "deep"]
    chain = exceptions.described(long_chain())
    assert len(chain["causes"]) == exceptions.CAUSES
    group = json.dumps(exceptions.described(nested_group(4)))
    assert group.count('"type"') == exceptions.MOST
    assert len(group) < exceptions.MOST * (exceptions.MESSAGE + 200)


def test_causes_in_a_circle_end():
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert len(exceptions.described(one)["causes"]) == 1


def test_an_exception_that_can_not_be_shown_is_told_by_its_type():
    class Mute(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError

    assert exceptions.described(Mute())["message"] == "<can't be shown>"
