"""Critical tasks: which they are."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any


class _Current:
    patterns: tuple[str, ...] = ()


def use(patterns: tuple[str, ...]) -> None:
    """Take the patterns of the settings."""
    _Current.patterns = patterns


def is_critical(name: str, task: Any) -> bool:
    """Whether the task says `critical=True`, or a pattern of the settings names it."""
    return bool(getattr(task, "critical", False)) or any(
        fnmatchcase(name, pattern) for pattern in _Current.patterns
    )
