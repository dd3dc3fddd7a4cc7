"""Keeps ended spans where a killed process can't take them along, until the agent has sent them.

A span is encoded once, as OTLP, and put into this process's ring in the state directory; the agent
joins what all rings hold into requests. Nothing here waits, and a full ring drops and counts.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

__all__ = ["obstacle"]


def obstacle(state_dir: Path) -> str | None:
    """Why spans can't be recorded in this directory, or in this process, if so."""
    # Without it two threads may be between two calls at once (see `pending`).
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "this Python runs without the global interpreter lock, which the recorder relies on"
    try:
        import fcntl  # noqa: F401, PLC0415  there is none on Windows

        state_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state_dir):
            return None
    except (ImportError, OSError) as error:
        return str(error)
