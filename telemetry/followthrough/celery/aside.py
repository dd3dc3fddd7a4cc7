"""Puts a message into quarantine, as it came, and tells so once."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from .. import guard, metrics, names, quarantine
from ..outcome import decide
from . import envelope, unrun
from .broker import system
from .carrier import trace_ids

if TYPE_CHECKING:
    from pathlib import Path


class _Current:
    state_dir: Path | None = None


def use(state_dir: Path | None) -> None:
    """Keep messages below `state_dir` from now on."""
    _Current.state_dir = state_dir


def state_dir() -> Path | None:
    """Where messages are kept."""
    return _Current.state_dir


def keep(message: Any, error: BaseException, *, reason: str) -> quarantine.Item | None:
    """Keep a message of kombu, which is not acknowledged here; None where that can't be done."""
    said = headers(message)
    payload, raw = payload_of(message)
    item = quarantine.new(
        payload,
        raw=raw,
        reason=reason,
        error=f"{type(error).__name__}: {error}",
        queue=queue_of(message),
        task=_text(said.get("task")),
        task_id=_text(said.get("id")),
        trace_id=trace_ids(said).get(names.TRACE_ID, ""),
        broker=_broker(message),
        prefix=_text(getattr(message.channel, "global_keyprefix", "")),
    )
    if _Current.state_dir is None:
        return None
    try:
        metrics.count_quarantine_dropped(quarantine.keep(_Current.state_dir, item))
    except OSError as failure:
        guard.report("celery.quarantine", failure)
        return None
    return item


def put(message: Any, error: BaseException, app: Any) -> None:
    """Keep a message that can't be read, and tell so.

    Where it can't be kept that is told, and it is lost as it is without the kit.
    """
    item = keep(message, error, reason="unreadable")
    said = headers(message)
    name = _text(said.get("task")) or names.UNKNOWN_TASK
    unrun.told(
        decide("quarantined" if item else "task_rejected", error, by="main"),
        name=name,
        task_id=_text(said.get("id")),
        headers=said,
        queue=queue_of(message),
        system=system(app),
        # Nobody can say whether it was critical.
        critical=True,
        label=name if name in app.tasks else names.UNKNOWN_TASK,
        **({names.QUARANTINE: item.id} if item else {}),
    )


def queue_of(message: Any) -> str:
    """The queue that a message came from, as far as it says."""
    return _text((message.delivery_info or {}).get("routing_key"))


def headers(message: Any) -> dict[str, Any]:
    """The headers of a message of kombu, whatever it says."""
    return message.headers if isinstance(message.headers, dict) else {}


def payload_of(message: Any) -> tuple[bytes, bool]:
    """What a message was in its queue, and whether that is an item of a list as it was there."""
    if envelope.reason(message.headers) is not None:
        return _bytes(message.body), True
    raw = getattr(message, "_raw", None)
    return json.dumps(_as_raw(message) if raw is None else raw, default=str).encode(), False


def _as_raw(message: Any) -> dict[str, Any]:
    """A message of another transport as kombu keeps one in Redis."""
    said = {key: value for key, value in headers(message).items() if key != "compression"}
    info = message.delivery_info or {}
    place = {key: _text(info.get(key)) for key in ("exchange", "routing_key")}
    properties = {**message.properties, "body_encoding": "base64", "delivery_info": place}
    return {
        "body": base64.b64encode(_bytes(message.body)).decode(),
        "content-type": message.content_type,
        "content-encoding": message.content_encoding,
        "headers": said,
        "properties": properties,
    }


def _bytes(body: Any) -> bytes:
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    return str("" if body is None else body).encode(errors="surrogatepass")


def _broker(message: Any) -> str:
    # kombu's connection; RabbitMQ's channels don't know it.
    client: Any = getattr(getattr(message.channel, "connection", None), "client", None)
    return str(client.as_uri()) if hasattr(client, "as_uri") else ""


def _text(value: Any) -> str:
    return "" if value is None else str(value)
