"""The attributes of a task's spans, from what its message says."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import names, redact

LONGEST = 255
_PLAIN = (str, bool, int, float)

# Headers of Celery's second protocol that are texts, and what they are called on a span: those
# that few messages have, and those that all of one sender share.
_TEXTS = (
    ("eta", names.CELERY_ETA),
    ("expires", names.CELERY_EXPIRES),
    ("parent_id", names.CELERY_PARENT_ID),
    ("group", names.CELERY_GROUP_ID),
)
_OF_SENDER = (("origin", names.CELERY_ORIGIN), ("reply_to", names.CELERY_REPLY_TO))
NO_LIMITS = [None, None]


def of_message(headers: Mapping[str, Any], task_id: str) -> dict[str, Any]:
    """What a message's headers say, as they are sent or as the worker keeps them.

    They are outside input: what isn't of the type that Celery writes is left out.
    """
    found = of_sender(headers)
    note_message(found, headers, task_id)
    return found


def of_sender(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The part of it that is the same for all that one process sends."""
    found: dict[str, Any] = {}
    _note_texts(found, headers, _OF_SENDER)
    return found


def _note_texts(
    found: dict[str, Any], headers: Mapping[str, Any], texts: tuple[tuple[str, str], ...]
) -> None:
    for key, name in texts:
        value = headers.get(key)
        if value and isinstance(value, str):
            found[name] = value[:LONGEST]


def note_message(found: dict[str, Any], headers: Mapping[str, Any], task_id: str) -> None:
    """The rest of it; most messages say no more than their id."""
    get = headers.get
    if task_id:
        found[names.MESSAGING_MESSAGE_ID] = task_id[:LONGEST]
    if get("eta") or get("expires") or get("parent_id") or get("group"):
        _note_texts(found, headers, _TEXTS)
    root = get("root_id")
    if root != task_id and root and isinstance(root, str):
        found[names.CELERY_ROOT_ID] = root[:LONGEST]
    retries = get("retries")
    if retries and isinstance(retries, int):
        found[names.CELERY_RETRIES] = retries
    limits = get("timelimit")
    if limits and limits != NO_LIMITS and isinstance(limits, list | tuple):
        found |= _limits(limits)


def _limits(limits: Sequence[Any]) -> dict[str, Any]:
    pairs = zip((names.CELERY_TIME_LIMIT, names.CELERY_SOFT_TIME_LIMIT), limits, strict=False)
    return {name: limit for name, limit in pairs if limit and isinstance(limit, int | float)}


def of_chord(body: object) -> dict[str, str]:
    """The id of a chord's body, from its signature; nothing where there is none."""
    options = body.get("options") if isinstance(body, Mapping) else None
    found = options.get("task_id") if isinstance(options, Mapping) else None
    return {names.CELERY_CHORD: found[:LONGEST]} if found and isinstance(found, str) else {}


def arguments(
    run: Callable[..., Any], listed: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The listed ones of a task's arguments, short and without secrets.

    Raises nothing where the arguments don't fit the task: that is the task's to say.
    """
    given = {**dict(zip(_positions(run), args, strict=False)), **kwargs}
    chosen = redact.fields({name: given[name] for name in listed if name in given})
    return {names.CELERY_ARG + name: _shown(value) for name, value in chosen.items()}


def _positions(run: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(run).parameters)
    except (TypeError, ValueError):
        return []


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST]
    return value if isinstance(value, _PLAIN) else redact.text(reprlib.repr(value)[:LONGEST])
