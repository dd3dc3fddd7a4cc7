"""What a host's processes keep in their state directory: `<state_dir>/rings/<slot><what>`."""

from __future__ import annotations

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
