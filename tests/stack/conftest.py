"""The real stack, built once a machine and started once a run."""

from __future__ import annotations

import pytest

from tests.stack import programs
from tests.stack.native import running_stack


@pytest.fixture(scope="session", autouse=True)
def _built():
    programs.build()


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """All of docker-compose.yml, healthy."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
