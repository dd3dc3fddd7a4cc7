"""How a process without a port of its own tells the manager that it is ready."""

from __future__ import annotations

import os
from pathlib import Path

READY_FILE = "FOLLOWTHROUGH_READY_FILE"


def announce(**_signal: object) -> None:
    """Say that this process is ready; a Celery signal receiver.

    Does nothing where no manager asked to be told.
    """
    if path := os.environ.get(READY_FILE):
        Path(path).touch()
