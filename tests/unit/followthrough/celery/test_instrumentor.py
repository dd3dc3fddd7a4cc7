"""Ours takes the stock instrumentor's place, and gives it back."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from celery import Celery, signals
from opentelemetry.instrumentation import celery as stock
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import followthrough
from followthrough.celery.instrumentor import CeleryInstrumentor
from followthrough.testing import Captured


@pytest.fixture
def app(told: Captured) -> Iterator[Celery]:
    app = Celery("place", broker="memory://localhost", set_as_current=True)

    @app.task(shared=False, name="place.work")
    def work() -> None: ...

    yield app
    for each in (CeleryInstrumentor(), stock.CeleryInstrumentor()):
        if each.is_instrumented_by_opentelemetry:
            each.uninstrument()
    app.close()


def test_a_later_stock_instrumentor_only_warns(
    told: Captured, app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    """As in somebody's worker_process_init."""
    CeleryInstrumentor().instrument()
    with caplog.at_level(logging.WARNING):
        stock.CeleryInstrumentor().instrument()
    assert "already instrumented" in caplog.text
    app.tasks["place.work"].apply()
    assert [span.name for span in told.spans] == ["process place.work"]


def test_one_that_was_there_before_gives_way(told: Captured, app: Celery) -> None:
    stock.CeleryInstrumentor().instrument()
    followthrough.instrument_celery()
    app.tasks["place.work"].apply()
    assert [span.name for span in told.spans] == ["process place.work"]


def test_once_uninstrumented_the_stock_one_works_as_ever(told: Captured, app: Celery) -> None:
    CeleryInstrumentor().instrument()
    stock.CeleryInstrumentor().uninstrument()
    assert type(stock.CeleryInstrumentor()) is stock.CeleryInstrumentor
    stock.CeleryInstrumentor().instrument()
    app.tasks["place.work"].apply()
    assert [span.name for span in told.spans] == ["run/place.work"]


def test_nothing_is_left_connected(app: Celery) -> None:
    every = [getattr(signals, name) for name in signals.__all__]
    before = [len(signal.receivers or []) for signal in every]
    CeleryInstrumentor().instrument()
    CeleryInstrumentor().uninstrument()
    assert [len(signal.receivers or []) for signal in every] == before


def test_a_tracer_provider_of_ones_own_gets_the_spans(told: Captured, app: Celery) -> None:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    CeleryInstrumentor().instrument(tracer_provider=provider)
    app.tasks["place.work"].apply()
    assert [span.name for span in memory.get_finished_spans()] == ["process place.work"]
    assert told.spans == []


def test_what_is_suppressed_is_not_traced_but_counted(told: Captured, app: Celery) -> None:
    CeleryInstrumentor().instrument()
    with suppress_instrumentation():
        app.tasks["place.work"].delay()
    assert told.spans == []
    assert told.metric("celery_tasks_published_total", task="place.work") == 1
