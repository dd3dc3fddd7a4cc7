"""A method of ours in the place of kombu's or Celery's; a wrapper would cost each task too much."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def method(owner: type, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Put `make(stock)` in the place of a class's method; gives what undoes that."""
    stock, own = getattr(owner, name), vars(owner).get(name)
    ours = functools.wraps(stock)(make(stock))
    setattr(owner, name, ours)

    def undo() -> None:
        # Whoever wrapped ours meanwhile keeps it.
        if vars(owner).get(name) is ours:
            delattr(owner, name)
            if own is not None:
                setattr(owner, name, own)

    return undo
