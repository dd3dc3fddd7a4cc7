"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Awkward text has halves of surrogate pairs, which xdist's processes can't send."""
    report = yield
    sections = report.sections
    report.sections = [(name, text.encode(errors="replace").decode()) for name, text in sections]
    return report
