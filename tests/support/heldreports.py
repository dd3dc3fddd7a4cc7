"""Holds a worker's reports while they are drawn, for workers that a test kills."""

from __future__ import annotations

import os
from pathlib import Path

from app.services.reports import pdf
from tests.support import wait_for
from tests.support.jobs import note

drawn = pdf.drawn


def held(document, shown):
    """Draws it, notes the process, and goes on once the file `go` is there."""
    directory = os.environ["TEST_DIRECTORY"]
    made = drawn(document, shown)
    note(directory, "held", os.getpid())
    wait_for((Path(directory) / "go").exists, "the test lets go", 60)
    return made


pdf.drawn = held
