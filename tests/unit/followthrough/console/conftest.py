from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from followthrough.console import otlp
from followthrough.console.pages import create_console
from followthrough.console.span import Span
from followthrough.console.store import Store

HERE = Path(__file__).parent
MS = 1_000_000


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_store(tmp_path, clock):
    """Opens the store of this test, as often as it asks; closes all of them at the end."""
    stores = []

    def open_store(**bounds):
        limits = {"max_age": 3600.0, "max_bytes": 256 * 1024**2, **bounds}
        stores.append(Store(tmp_path / "traces.db", clock=clock, **limits))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def sample():
    """Spans of two services and one without a name: errors, events, links, all attribute types."""
    request = otlp.from_json((HERE / "sample.json").read_bytes())
    return list(otlp.spans(request))


@pytest.fixture
def make_span():
    """Makes a span of 10 ms; keyword arguments replace fields, ids are padded with zeros."""
    plain = Span(
        trace_id="1".zfill(32),
        span_id="1".zfill(16),
        parent_id="",
        name="GET /",
        kind="server",
        service="web",
        start=1_789_999_999_000 * MS,
        end=1_789_999_999_010 * MS,
        status="UNSET",
        message="",
        trace_state="",
        scope="",
        scope_version="",
        tags=[],
        events=[],
        links=[],
        resource=[],
    )

    def make(trace=1, span=1, parent=0, at=0, took=10, **fields):
        start = plain.start + round(at * MS)
        return dataclasses.replace(
            plain,
            trace_id=f"{trace:x}".zfill(32),
            span_id=f"{span:x}".zfill(16),
            parent_id=f"{parent:x}".zfill(16) if parent else "",
            start=start,
            end=start + round(took * MS),
            **fields,
        )

    return make


@pytest.fixture
def client(store):
    return create_console(store, 4318).test_client()
