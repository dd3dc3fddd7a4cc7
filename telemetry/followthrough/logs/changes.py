"""Who keeps what follows from how lines are made hears here that they are made in another way."""

from __future__ import annotations

from collections.abc import Callable

on_change: list[Callable[[], None]] = []


def tell() -> None:
    """Tell them all."""
    for each in on_change:
        each()
