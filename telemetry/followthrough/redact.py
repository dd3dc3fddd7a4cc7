"""Redaction shared by logs and alerts: secrets by their name, and passwords in addresses."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

MASK = "********"
CUT = "..."
DEPTH = 4

_NAME = re.compile(
    r"passw(or)?d|passphrase|secret|token|authorization|api[-_]?key|credential|cookie|"
    r"private[-_]?key",
    re.IGNORECASE,
)
# Each pattern starts at a word's start only: tried at every character, a long word takes seconds.
_IN_URL = re.compile(
    r"(?P<scheme>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", re.IGNORECASE
)
_BEARER = re.compile(r"\b(?P<kind>Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_PAIR = re.compile(
    r"""(?P<key>(?<![\w-])["']?[\w-]*(?:password|passwd|secret|token|api[-_]?key)["']?\s*[=:]\s*)"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s,;&)}\]"']+)""",
    re.IGNORECASE,
)


def text(value: str) -> str:
    """`value` with passwords in addresses, bearer tokens and `password=...` pairs masked."""
    # Most texts of a log line hold none of these, and a search of them all takes longer.
    if "@" in value:
        value = _IN_URL.sub(rf"\g<scheme>:{MASK}@", value)
    if " " in value:
        value = _BEARER.sub(rf"\g<kind> {MASK}", value)
    if "=" in value or ":" in value:
        value = _PAIR.sub(rf"\g<key>{MASK}", value)
    return value


def fields(values: Mapping[str, Any], depth: int = DEPTH) -> dict[str, Any]:
    """A copy of `values` in which what a name calls secret, and secrets in texts, are masked."""
    return {key: _field(str(key), value, depth) for key, value in values.items()}


def _field(key: str, value: Any, depth: int) -> Any:
    if value is not None and not isinstance(value, (bool, int, float)) and _is_secret(key):
        return MASK
    return _value(value, depth)


@functools.lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return bool(_NAME.search(key))


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return text(value)
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    if depth <= 0:
        return CUT
    if isinstance(value, Mapping):
        return fields(value, depth - 1)
    return [_value(item, depth - 1) for item in value]
