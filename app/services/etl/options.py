"""How a source says its rows are to be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.services.etl import rows

IMPORTS, SAMPLES = "imports", "samples"


@dataclass(frozen=True)
class Options:
    """What a source's `options` say.

    `key` is the column that tells rows apart, `list` the JSON member (dots lead deeper) that holds
    them, `types` the type of each column that has one, `folder` where a source's file lies.
    """

    key: str
    list: str = ""
    required: tuple[str, ...] = ()
    types: dict[str, str] = field(default_factory=dict)
    folder: str = IMPORTS


def parsed(given: Any) -> Options:
    """The options of a document; raises ValueError naming the wrong one."""
    if not isinstance(given, dict):
        raise ValueError("must be an object")  # noqa: TRY004  callers read one error
    for name, value in given.items():
        if name not in _FITS:
            raise ValueError(f"{name} is none of {', '.join(_FITS)}")
        if not _FITS[name](value):
            raise ValueError(f"{name} can't be {str(value)[:100]}")
    if "key" not in given:
        raise ValueError("key is missing")
    return Options(**{**given, "required": tuple(given.get("required", ()))})


def _are_columns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_types(value: Any) -> bool:
    return isinstance(value, dict) and all(rows.is_type(each) for each in value.values())


_FITS: dict[str, Callable[[Any], Any]] = {
    "key": lambda value: isinstance(value, str) and value,
    "list": lambda value: isinstance(value, str),
    "required": _are_columns,
    "types": _are_types,
    "folder": lambda value: value in (IMPORTS, SAMPLES),
}
