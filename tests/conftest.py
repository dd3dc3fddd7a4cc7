"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings
from kombu.transport import TRANSPORT_ALIASES, _transport_cache

import followthrough

# How long an example takes says more of the machine's load than of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="module", autouse=True)
def _uninstrumented() -> Iterator[None]:
    """Celery's signals belong to the process: what one module connected, none after it meets."""
    followthrough.uninstrument_celery()
    yield
    followthrough.uninstrument_celery()


# Before a test has made the service's app, which puts a transport of its own in their place.
TRANSPORTS = dict(TRANSPORT_ALIASES)


@pytest.fixture(scope="module", autouse=True)
def _stock_transports() -> None:
    """Kombu's transports belong to the process too: the kit's tests are of the stock ones."""
    TRANSPORT_ALIASES.update(TRANSPORTS)
    # What it found before is remembered.
    _transport_cache.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Awkward text has halves of surrogate pairs, which xdist's processes can't send."""
    report = yield
    sections = report.sections
    report.sections = [(name, text.encode(errors="replace").decode()) for name, text in sections]
    return report
