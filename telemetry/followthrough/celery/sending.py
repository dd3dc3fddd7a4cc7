"""A message on its way to the broker: what is known of it, and what its span says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from contextvars import Token
from time import time_ns
from typing import Any

from celery import Celery
from opentelemetry import trace
from opentelemetry.context import Context

from .. import names
from ..recorder import encode
from ..recorder.encode import Kept
from . import attributes
from .broker import system

MOST_KEPT = 256

# What the spans of most messages begin with, by what their messages have in common.
kept_of: dict[tuple[Any, ...], Kept] = {}


class Sending:
    """One call of `send_task`: what is known of its message, and its span once that has begun."""

    # What it begins with is the class's.
    task_id = queue = ""
    span: trace.Span | None = None
    token: Token[Context] | None = None
    # The context that it is sent in.
    here: Context | None = None
    is_counted = is_ended = False

    def __init__(self, app: Celery, name: str) -> None:
        self.app, self.name = app, name
        self.started = time_ns()


def forget() -> None:
    """Keep nothing of the messages so far."""
    kept_of.clear()


def attributes_of(
    sending: Sending, headers: Mapping[str, Any], body: Any, exchange: Any, properties: Any
) -> tuple[dict[str, Any], Kept | None]:
    """What the span says as it begins, and what was kept of that, if it says no more than most."""
    if type(exchange) is not str:
        exchange = str(getattr(exchange, "name", exchange) or "") if exchange else ""
    sender = headers.get("origin"), headers.get("reply_to")
    alike = (sending.app, sending.name, sending.queue, exchange, *sender)
    try:
        kept = kept_of[alike]
    except (KeyError, TypeError):
        kept = _keep(alike, headers)
    found = kept.attributes.copy()
    attributes.note_message(found, headers, sending.task_id)
    if properties and (priority := properties.get("priority")):
        found[names.CELERY_PRIORITY] = priority
    if type(body) is tuple and (chord := body[2].get("chord")):
        found |= attributes.of_chord(chord)
    is_usual = len(found) == len(kept.attributes) + 1
    return found, kept if is_usual else None


def _keep(alike: tuple[Any, ...], headers: Mapping[str, Any]) -> Kept:
    app, name, queue, exchange, *_ = alike
    found: dict[str, Any] = {
        names.MESSAGING_SYSTEM: system(app),
        names.MESSAGING_OPERATION_NAME: "send",
        names.MESSAGING_OPERATION_TYPE: "send",
        names.CELERY_TASK: str(name),
    }
    if queue:
        found[names.MESSAGING_DESTINATION] = str(queue)
    if exchange:
        found[names.CELERY_EXCHANGE] = exchange
    found |= attributes.of_sender(headers)
    made = encode.kept(found)
    if len(kept_of) >= MOST_KEPT:
        kept_of.clear()
    # It may be what nobody sane sends.
    with suppress(TypeError):
        kept_of[alike] = made
    return made


def id_of(headers: Mapping[str, Any], body: Any) -> str:
    """The task's id; in Celery's first protocol the body has it."""
    found = headers.get("id") or (body.get("id") if isinstance(body, dict) else None)
    return str(found or "")


def queue_of(declare: Any, routing_key: str | None) -> str:
    """The queue's name, as far as Celery says it."""
    name = getattr(declare[0], "name", "") if declare else ""
    return name or routing_key or ""
