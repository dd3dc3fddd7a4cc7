"""What a worker takes out of a queue: a message of kombu, or something that it would fall over.

kombu decodes an item that it has already popped, and what can't be decoded ends the worker. Such an
item is put into an envelope: a message like any other, which is noted as unacknowledged, refused by
Celery because of its content type, and then put into quarantine.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

CONTENT_TYPE = "application/x-followthrough-unreadable"
REASON = "followthrough_unreadable"
_ENCODINGS = (None, "", "utf-8", "base64")
_PLACE = ("exchange", "routing_key")


class Unread:
    """An item that is no JSON, and why."""

    def __init__(self, item: str | bytes, error: Exception) -> None:
        self.item = item
        self.error = f"{type(error).__name__}: {error}"


def read(item: str | bytes, loads: Callable[..., Any] = json.loads) -> Any:
    """What an item says, by `loads`; Unread where that fails."""
    try:
        return loads(item)
    except Exception as error:  # noqa: BLE001  kombu lets an item name types, whose makers raise anything
        return Unread(item, error)


def is_usual(message: Any) -> bool:
    """Whether this is a message as kombu makes them, by the shortest way: one look for each task.

    Then it has no `problem`, but for a body that may be no base64. (By `__class__`, as `type` is a
    call; an item is made of JSON.)
    """
    try:
        properties, headers, body = message["properties"], message["headers"], message["body"]
        place = properties["delivery_info"]
        return (
            body.__class__ is str
            and body.isascii()
            and properties["body_encoding"] == "base64"
            and properties["delivery_tag"].__class__ is str
            and place["exchange"].__class__ is str
            and place["routing_key"].__class__ is str
            and headers["task"].__class__ is str
        )
    except (LookupError, TypeError):
        return False


def problem(message: Any) -> str:
    """Why kombu or Celery could not take this for a message; empty for a good one."""
    if isinstance(message, Unread):
        return message.error
    if not isinstance(message, Mapping):
        return f"a message is an object, not {type(message).__name__}"
    properties = message.get("properties")
    if not isinstance(properties, Mapping):
        return "a message has an object `properties`"
    return (
        _problem_of_place(properties)
        or _problem_of_body(message.get("body"), properties.get("body_encoding"))
        or _problem_of_headers(message.get("headers"))
    )


def _problem_of_place(properties: Mapping[str, Any]) -> str:
    if not isinstance(properties.get("delivery_tag"), str):
        return "a message has a text `properties.delivery_tag`"
    info = properties.get("delivery_info")
    if not isinstance(info, Mapping) or not all(isinstance(info.get(k), str) for k in _PLACE):
        return "a message has the texts `exchange` and `routing_key` in `properties.delivery_info`"
    return ""


def _problem_of_body(body: Any, encoding: Any) -> str:
    if body is not None and not isinstance(body, str):
        return f"a body is a text, not {type(body).__name__}"
    if encoding not in _ENCODINGS:
        return f"no such body encoding: {encoding!r}"
    if body and encoding == "base64":
        try:
            base64.b64decode(body)
        except (ValueError, binascii.Error) as error:
            return f"a body that is not base64: {error}"
    return ""


def _problem_of_headers(headers: Any) -> str:
    if headers is not None and not isinstance(headers, Mapping):
        return f"headers are an object, not {type(headers).__name__}"
    if headers and not isinstance(headers.get("task", ""), str):
        return "a task's name is a text"
    return ""


def wrap(message: Any, queue: str, why: str) -> dict[str, Any]:
    """A message of kombu around what is none."""
    return {
        "body": base64.b64encode(_bytes(message)).decode(),
        "content-type": CONTENT_TYPE,
        "content-encoding": "binary",
        "headers": {REASON: why},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": queue},
        },
    }


def _bytes(message: Any) -> bytes:
    if isinstance(message, Unread):
        item = message.item
        return item if isinstance(item, bytes) else item.encode(errors="surrogatepass")
    # It came as JSON, though not as the very same characters.
    return json.dumps(message, default=str).encode()


def admit(message: Any, queue: str) -> dict[str, Any]:
    """A message that kombu and Celery can take: this one, or an envelope around it."""
    why = problem(message)
    return wrap(message, queue, why) if why else message


def reason(headers: Any) -> str | None:
    """Why a message is an envelope; None for any other."""
    found = headers.get(REASON) if isinstance(headers, Mapping) else None
    return found if isinstance(found, str) else None
