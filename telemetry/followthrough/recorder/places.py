"""What a host's processes keep in their state directory: `<state_dir>/rings/<slot><what>`."""

from __future__ import annotations

import os
from pathlib import Path

SPANS = ".spans"
LOGS = ".logs"
# What must not be lost: no collector's outage fills it, and the disk is its next place.
EVENTS = ".events"
RINGS = {"spans": SPANS, "logs": LOGS, "events": EVENTS}
UNDER_WAY = ".open"
LEFT = ".left"


def folder(state_dir: Path) -> Path:
    """Where the files of all processes are."""
    return state_dir / "rings"


def slots_of(state_dir: Path) -> Path:
    """Where the numbers are that processes take."""
    return state_dir / "slots"


def found(directory: Path, *what: str) -> list[Path]:
    """The files of a directory, if it is there, whose names end in one of these ways.

    The agent looks many times a second, for which `Path.glob` does too much.
    """
    try:
        names = os.listdir(directory)  # noqa: PTH208  it makes a path of each
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [directory / name for name in names if name.endswith(what)]
