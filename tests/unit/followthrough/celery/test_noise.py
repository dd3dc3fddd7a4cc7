"""Celery's own line of a success is not made, and nothing else of its logger is missed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.app import trace

from followthrough.celery import noise


@pytest.fixture
def silenced() -> Iterator[None]:
    noise.silence()
    yield
    noise.unsilence()


def run(app: Celery) -> Any:
    task = app.tasks["noise.work"]
    tracer = trace.build_tracer(task.name, task, app=app)
    message = {"id": "id-1", "task": task.name, "argsrepr": "()", "kwargsrepr": "{}"}
    return tracer("id-1", (), {}, message)


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("noise", broker="memory://", set_as_current=False)

    @app.task(shared=False, name="noise.work")
    def work() -> None:
        pass

    yield app
    app.close()


def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that Celery has words for from now on."""
    found: list[str] = []
    stock = trace.info

    def info(fmt: str, context: dict[str, Any]) -> None:
        found.append(fmt)
        stock(fmt, context)

    monkeypatch.setattr(trace, "info", info)
    return found


def test_a_success_needs_no_words_of_celery(
    silenced: None, app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lines = made(monkeypatch)
    run(app)
    assert lines == []


def test_celery_tells_a_success_where_nobody_keeps_it_out(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lines = made(monkeypatch)
    run(app)
    assert lines == [trace.LOG_SUCCESS]


def test_what_else_celery_says_of_a_task_is_written(
    silenced: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trace.info(trace.LOG_IGNORED, {"id": "id-1", "name": "a", "description": "done before"})
    trace.logger.error("Process cleanup failed: %r", "x")
    assert [(each.name, each.levelname) for each in caplog.records] == [
        ("celery.app.trace", "INFO"),
        ("celery.app.trace", "ERROR"),
    ]
    assert trace.logger.isEnabledFor(logging.WARNING)


def test_celery_has_its_own_logger_back_in_the_end() -> None:
    before = trace.info, trace.logger
    noise.silence()
    assert trace.logger is not before[1]
    noise.unsilence()
    assert (trace.info, trace.logger) == before
