from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from followthrough import logs
from followthrough.logs import output


@pytest.fixture
def configured() -> Iterator[Callable[..., None]]:
    """Configures the chain as a program does, to what stdout is; undone at the end."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    structlog.reset_defaults()
    yield logs.configure_logs
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    output.to_file(None)
