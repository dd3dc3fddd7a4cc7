"""`{name.member.0}` in texts, looked up in what is known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_PLACE = re.compile(r"\{([\w.-]+)\}")


def look_up(known: Any, path: str) -> Any:
    """The value at `path`, whose parts are members or positions; raises LookupError."""
    for part in path.split("."):
        if isinstance(known, Mapping):
            known = known[part]
        elif isinstance(known, Sequence) and not isinstance(known, str) and part.isdecimal():
            known = known[int(part)]
        else:
            raise LookupError(path)
    return known


def fill(value: Any, known: Mapping[str, Any]) -> Any:
    """`value` with each place filled, in members and items too; raises LookupError.

    A text that is one place only becomes what is found, whatever its type.
    """
    if isinstance(value, str):
        return _text(value, known)
    if isinstance(value, Mapping):
        return {name: fill(each, known) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [fill(each, known) for each in value]
    return value


def _text(text: str, known: Mapping[str, Any]) -> Any:
    if whole := _PLACE.fullmatch(text):
        return look_up(known, whole[1])
    return _PLACE.sub(lambda place: str(look_up(known, place[1])), text)


def names(value: Any) -> set[str]:
    """The first name of each place in `value`, in members and items too."""
    if isinstance(value, str):
        return {place.partition(".")[0] for place in _PLACE.findall(value)}
    if isinstance(value, Mapping):
        value = list(value.values())
    return set().union(*map(names, value)) if isinstance(value, list | tuple) else set()


def words(text: str, known: Mapping[str, Any]) -> str:
    """`text` with its places filled, in one line of printable characters; never raises.

    What isn't known is a question mark: an answer that was not expected may lack anything.
    """

    def found(place: re.Match[str]) -> str:
        try:
            return str(look_up(known, place[1]))
        except LookupError:
            return "?"

    line = " ".join(_PLACE.sub(found, text).split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)
