"""What a row must be like, and what is made of it; pure functions on plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.services.external import unfit

if TYPE_CHECKING:
    from app.services.etl.options import Options

LONGEST_KEY = 255  # characters, as in the table
SMALLEST, LARGEST = -(2**63), 2**63 - 1
SHOWN = 40  # characters of a value that a reason shows
LONGEST_DECIMAL = 60  # characters

TRUE = {"true", "yes", "1"}
FALSE = {"false", "no", "0"}

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")


def reason(row: Any, options: Options) -> str:
    """Why a row can't be taken; empty if it can."""
    if not isinstance(row, dict):
        return "The row is no object."
    if wrong := unfit(row):
        return f"The row {wrong[0].lower()}{wrong[1:]}"
    return _unwritable(row) or _missing(row, options) or _mistyped(row, options)


def _unwritable(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "The row holds bytes or characters that are no text."
    # PostgreSQL can't keep it.
    if "\\u0000" in text and any("\0" in each for each in _texts(row)):
        return "The row holds a NUL character."
    return ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        yield from value if isinstance(value, dict) else ()
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _missing(row: dict[str, Any], options: Options) -> str:
    for column in (options.key, *options.required):
        if _trimmed(row.get(column)) is None:
            return f"{column}: is missing."
    return ""


def _mistyped(row: dict[str, Any], options: Options) -> str:
    for column, kind in options.types.items():
        try:
            converted(row.get(column), kind)
        except ValueError:
            return f"{column}: {_shown(row[column])} is no {kind.partition(':')[0]}."
    found = converted(row[options.key], options.types.get(options.key, ""))
    if isinstance(found, (bool, dict, list)):
        return f"{options.key}: {_shown(found)} is no key."
    if len(str(found)) > LONGEST_KEY:
        return f"{options.key}: is longer than {LONGEST_KEY} characters."
    return ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def key(row: dict[str, Any], options: Options) -> str:
    """What tells the row apart from others of its source."""
    return str(converted(row[options.key], options.types.get(options.key, "")))


def normalised(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """The row with texts trimmed, types converted, times in ISO 8601 and decimals as text."""
    return {
        column: converted(value, options.types.get(column, "")) for column, value in row.items()
    }


def converted(value: Any, kind: str) -> Any:
    """A value as one of this type, or as it is without one; raises ValueError."""
    value = _trimmed(value)
    if value is None:
        return None
    name, _, form = kind.partition(":")
    if name == "date" and form:
        return datetime.strptime(_text(value), form).date().isoformat()  # noqa: DTZ007  a day alone
    return _CONVERTERS[name](value)


def is_type(kind: str) -> bool:
    """Whether a source's options may name this type."""
    return bool(kind) and (kind in _CONVERTERS or kind.startswith("date:"))


def _trimmed(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
    return None if value == "" else value


def _any(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _any(_trimmed(each)) for name, each in value.items()}
    if isinstance(value, list):
        return [_any(_trimmed(each)) for each in value]
    # Readers of JSON make inexact floats of numbers that they can't hold.
    is_large = isinstance(value, int) and not SMALLEST <= value <= LARGEST
    return str(value) if is_large or isinstance(value, float) else value


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(value)  # noqa: TRY004  each converter raises the same
    return str(value)


def _integer(value: Any) -> int:
    text = _text(value)
    number = int(text) if _INTEGER.fullmatch(text) else None
    if number is None or not SMALLEST <= number <= LARGEST:
        raise ValueError(value)
    return number


def _decimal(value: Any) -> str:
    text = _text(value)
    if len(text) > LONGEST_DECIMAL or not _DECIMAL.fullmatch(text):
        raise ValueError(value)
    number = Decimal(text)
    written = format(number, "f") if number else "0"
    if len(written) > LONGEST_DECIMAL:
        raise ValueError(value)
    return written


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if isinstance(value, (dict, list)) or text not in TRUE | FALSE:
        raise ValueError(value)
    return text in TRUE


def _date(value: Any) -> str:
    return date.fromisoformat(_text(value)).isoformat()


def _datetime(value: Any) -> str:
    moment = datetime.fromisoformat(_text(value))
    try:
        # Without a zone it is taken as UTC.
        aware = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(value) from None
    return aware.isoformat()


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "": _any,
    "text": _text,
    "integer": _integer,
    "decimal": _decimal,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
}
