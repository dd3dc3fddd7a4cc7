"""The worker's main process: what ended a task whose own process couldn't say."""

from __future__ import annotations


def connect() -> None:
    pass
