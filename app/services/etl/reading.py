"""Makes rows of what a source has sent."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from app.services import csvfile
from app.services.failures import JobFailedError


class Row(NamedTuple):
    """A row by its line (CSV) or its place in the list (JSON, from 1); a bad one has a reason."""

    number: int
    data: Any
    reason: str = ""


def from_csv(content: bytes) -> Iterator[Row]:
    """The rows after the header, all cells as texts; raises JobFailedError."""
    file = io.BytesIO(content)
    try:
        layout = csvfile.layout(file)
        lines = csvfile.Lines(file, layout.encoding, layout.start)
        for record in csvfile.records(lines, layout.delimiter):
            yield _row(record, layout.columns)
    except csvfile.BadFileError as error:
        raise JobFailedError(f"The rows can't be read: {error}") from None


def _row(record: csvfile.Record, columns: list[str]) -> Row:
    found, wanted = len(record.fields), len(columns)
    if record.reason:
        return Row(record.line, None, record.reason)
    if found != wanted:
        reason = f"The row has {found} fields, the header {wanted}."
        return Row(record.line, None, reason)
    return Row(record.line, dict(zip(columns, record.fields, strict=True)))


def from_json(content: bytes, member: str) -> Iterator[Row]:
    """The rows of the list that `member` leads to; raises JobFailedError.

    Numbers with a point or exponent come as they are written, as texts.
    """
    found = _parsed(content)
    for name in member.split(".") if member else ():
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, list):
        raise JobFailedError(f"There is no list{f' in {member}' if member else ''}.")
    for number, data in enumerate(found, 1):
        yield Row(number, data)


def _parsed(content: bytes) -> Any:
    try:
        text = content.decode(json.detect_encoding(content))
        return json.loads(text, parse_float=str, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise JobFailedError("The rows can't be read: this is no JSON.") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
