"""Beside the stock instrumentor: the same spans and attributes, up to docs/renames.md."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, _state, chain
from celery.exceptions import SecurityWarning
from opentelemetry.instrumentation.celery import CeleryInstrumentor as Stock
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from followthrough.celery.instrumentor import CeleryInstrumentor
from followthrough.testing import capture
from tests.support import HOME, wait_for

pytestmark = pytest.mark.integration

NAMES = {"run/": "process ", "apply_async/": "send "}
SCENARIO: dict[str, tuple[Callable[[Celery], Any], int]] = {
    "success": (lambda app: app.tasks["both.add"].delay(1, 2), 2),
    "failure": (lambda app: app.tasks["both.fail"].delay(), 2),
    "expected failure": (lambda app: app.tasks["both.expected"].delay(), 2),
    "retry": (lambda app: app.tasks["both.retry"].delay(), 4),
    "options": (
        lambda app: app.tasks["both.add"].apply_async(
            (1, 2), countdown=0.1, expires=60, priority=3, time_limit=9, soft_time_limit=8
        ),
        2,
    ),
    "by name": (lambda app: app.send_task("both.add", (1, 2)), 2),
    "chain": (lambda app: chain(app.tasks["both.add"].s(1, 2), app.tasks["both.add"].s(3))(), 4),
    "eager": (lambda app: app.tasks["both.add"].apply((1, 2)), 1),
}


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    app = Celery("both", broker="memory://both", backend="cache+memory://")

    @app.task(shared=False, name="both.add")
    def add(a: int, b: int) -> int:
        return a + b

    @app.task(shared=False, name="both.fail")
    def fail() -> None:
        raise ValueError("it broke")

    @app.task(shared=False, name="both.expected", throws=(KeyError,))
    def expected() -> None:
        raise KeyError("k")

    @app.task(shared=False, name="both.retry", bind=True)
    def retry(self: Any) -> None:
        if self.request.retries == 0:
            raise self.retry(exc=OSError("not yet"), countdown=0)

    yield app
    app.close()


Spans = dict[str, list[ReadableSpan]]


def spans(app: Celery, instrumentor: Any) -> Spans:
    """Of each part of the scenario, with one worker."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    # Celery's own tracer keeps the receivers that there were when it was built.
    for task in app.tasks.values():
        task.__trace__ = None
    worker = app.Worker(pool="solo", concurrency=1, loglevel="CRITICAL", redirect_stdouts=False)
    thread = threading.Thread(target=worker.start)
    thread.start()
    try:
        wait_for(lambda: worker.consumer and worker.consumer.task_consumer, "the worker consumes")
        return {which: _ended(app, exporter, *SCENARIO[which]) for which in SCENARIO}
    finally:
        worker.stop()
        thread.join(10)
        # Else all that runs in this process would pass for a task, and may wait for none.
        _state._set_task_join_will_block(False)
        instrumentor.uninstrument()


def _ended(app: Celery, exporter: Any, send: Any, count: int) -> list[ReadableSpan]:
    exporter.clear()
    send(app)
    wait_for(lambda: len(exporter.get_finished_spans()) == count, f"{count} spans")
    return sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


@pytest.fixture(scope="module")
def both(app: Celery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Spans, Spans]:
    """The stock's, and ours."""
    with warnings.catch_warnings(), capture(tmp_path_factory.mktemp("state")):
        warnings.simplefilter("ignore", SecurityWarning)
        return spans(app, Stock()), spans(app, CeleryInstrumentor())


def rows() -> dict[str, list[str]]:
    """The table: of each of the stock's attributes, the names of ours."""
    text = (HOME / "docs" / "renames.md").read_text().partition("## Tasks")[2]
    cells = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    return {
        old: re.findall("`(.+?)`", ours)
        for stock, ours in cells
        for old in re.findall("`(.+?)`", stock)
    }


def renamed(name: str) -> str:
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


@pytest.mark.parametrize("which", SCENARIO)
def test_each_span_and_attribute_of_the_stock_has_its_counterpart(
    both: tuple[Spans, Spans], which: str
) -> None:
    theirs, ours = (each[which] for each in both)
    assert [renamed(span.name) for span in theirs] == [span.name for span in ours]
    for stock, own in zip(theirs, ours, strict=True):
        assert own.kind is stock.kind
        assert (own.parent is None) == (stock.parent is None)
        for key, value in (stock.attributes or {}).items():
            found = [own.attributes.get(name) for name in rows().get(key, [key])]
            assert any(each is not None for each in found), (key, value)
        if which != "expected failure":
            assert own.status.status_code is stock.status.status_code
            assert [event.name for event in own.events] == [event.name for event in stock.events]
