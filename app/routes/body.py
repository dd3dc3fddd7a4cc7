"""Reads a request's JSON strictly, into a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import InvalidOperation
from typing import Annotated, Any, NoReturn, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from app.errors import InvalidError

MOST_NAMED = 100  # wrong fields in an answer; a list may have thousands


def _writable(text: str) -> str:
    # JSON can spell half a surrogate pair, which no encoding can write.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("Holds half a surrogate pair.") from None
    return text


Text = Annotated[str, AfterValidator(_writable)]


class Body(BaseModel):
    """A request's fields: no others are allowed, and no text is taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


T = TypeVar("T", bound=Body)


def read(model: type[T], *, parse_float: Callable[[str], Any] = float) -> T:
    """The request's body as `model`; `parse_float` makes a number of one with a point or exponent.

    Raises UnsupportedMediaType, BadRequest if it isn't JSON, InvalidError naming each wrong field.
    """
    if not request.is_json:
        raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
    document = _parsed(_raw(), parse_float)
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.")
    return checked(model, document)


def checked(model: type[T], fields: dict[str, Any]) -> T:
    """The fields as `model`; raises InvalidError naming each wrong one."""
    return _named(lambda: model.model_validate(fields))


def query(model: type[T]) -> T:
    """The parameters behind the question mark as `model`; raises InvalidError naming wrong ones."""
    given = dict(request.args.lists())
    if twice := [name for name, values in given.items() if len(values) > 1]:
        raise InvalidError([(name, "Is given twice.") for name in twice])
    return _named(lambda: model.model_validate_strings(request.args.to_dict()))


def _named(check: Callable[[], T]) -> T:
    try:
        return check()
    except ValidationError as error:
        raise InvalidError([_wrong(each) for each in error.errors()[:MOST_NAMED]]) from None


def member(field: str, text: str) -> Any:
    """The JSON that a form's field holds; raises InvalidError naming the field."""
    try:
        return _parsed(text.encode(), float)
    except BadRequest:
        raise InvalidError([(field, "Is not JSON.")]) from None


def _raw() -> bytes:
    raw = request.get_data(cache=False)
    limit = request.max_content_length
    # Of a body without a stated length, Werkzeug silently reads no more than the limit.
    if request.content_length is None and limit is not None and len(raw) >= limit:
        raise RequestEntityTooLarge
    return raw


def _wrong(error: Any) -> tuple[str, str]:
    return ".".join(map(str, error["loc"])), str(error["msg"]).removeprefix("Value error, ")


def _parsed(raw: bytes, parse_float: Callable[[str], Any]) -> Any:
    try:
        # In this order a body that isn't UTF-8 is told apart, and no byte order mark is guessed.
        text = raw.decode()
        return json.loads(
            text,
            parse_float=parse_float,
            parse_constant=_no_number,
            object_pairs_hook=_without_duplicates,
        )
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    except InvalidOperation:
        raise BadRequest("A number's exponent is out of range.") from None
    except ValueError as error:
        # Of a number with thousands of digits Python says how to lift its limit.
        told = "a number is too long" if "int_max_str_digits" in str(error) else error
        raise BadRequest(f"The body is not JSON: {told}") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given twice")
    return members
