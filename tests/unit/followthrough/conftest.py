from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.instrumentation import propagators

from followthrough.testing import Captured, capture


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Captured]:
    """All that the kit tells in a test: spans, lines, metrics; its own errors are raised."""
    with capture(tmp_path / "state") as captured:
        yield captured


@pytest.fixture(autouse=True)
def _no_response_propagator(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is set, as in most hosts; a service in a test before this one may have set its own."""
    monkeypatch.setattr(propagators, "_RESPONSE_PROPAGATOR", None)
