"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import followthrough


@pytest.fixture(scope="module", autouse=True)
def _uninstrumented() -> Iterator[None]:
    """Celery's signals belong to the process: what one module connected, none after it meets."""
    followthrough.uninstrument_celery()
    yield
    followthrough.uninstrument_celery()
