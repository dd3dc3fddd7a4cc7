"""Messages that no worker can run, put aside: one file each in `<state_dir>/quarantine/`.

A file holds the message as it was in the queue, so that it can be sent again, and so only its owner
may read it. Numbers and sizes are bounded: the oldest go.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import disk, redact

ITEMS = 1000
BYTES = 64 * 1024**2
# Of one message; of a longer one only the beginning is kept, and it can't be sent again.
PAYLOAD = 1024**2
TEXT = 1000  # characters of what others wrote: names and errors
SHOWN = 4096  # characters of a payload that `show` prints

SUFFIX = ".json"


class QuarantineError(Exception):
    """What was asked for can't be done; the text says why, for a person."""


@dataclass(frozen=True)
class Item:
    """One message in quarantine.

    `payload` is a message of kombu as JSON, or, if `raw`, an item of a Redis list as it was there.
    `size` is the payload's size in bytes before it was cut; `broker` holds no password; `prefix`
    stands before the names of the broker's keys.
    """

    payload: bytes
    size: int
    id: str = ""
    at: float = 0.0
    reason: str = ""
    error: str = ""
    queue: str = ""
    task: str = ""
    task_id: str = ""
    trace_id: str = ""
    broker: str = ""
    prefix: str = ""
    raw: bool = False

    @property
    def is_whole(self) -> bool:
        return self.size == len(self.payload)


def folder(state_dir: Path) -> Path:
    """Where the items are."""
    return state_dir / "quarantine"


def new(payload: bytes, *, raw: bool = False, **said: str) -> Item:
    """An item of now, cut to its bounds; `said` are texts of Item's fields, which may be anything.

    The error is redacted, as it is shown.
    """
    now = time.time()
    day = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    texts = {name: text[:TEXT] for name, text in said.items()}
    texts["error"] = redact.text(texts.get("error", ""))
    return Item(
        payload=payload[:PAYLOAD],
        size=len(payload),
        id=f"{day}-{secrets.token_hex(4)}",
        at=now,
        raw=raw,
        **texts,
    )


def keep(state_dir: Path, item: Item) -> int:
    """Write an item, on the disk when this returns; how many older ones had to go for it.

    Raises OSError where it can't be written.
    """
    place = folder(state_dir)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    dropped = _make_room(place, len(item.payload))
    disk.write(place / f"{item.id}{SUFFIX}", to_json(item))
    return dropped


def _make_room(place: Path, size: int) -> int:
    # An id begins with its time, to the second: the order of names is near enough.
    with os.scandir(place) as entries:
        found = sorted((e.name, e.stat().st_size) for e in entries if e.name.endswith(SUFFIX))
    total, dropped = sum(size for _, size in found) + size, 0
    while found[dropped:] and (len(found) - dropped >= ITEMS or total > BYTES):
        name, size = found[dropped]
        (place / name).unlink(missing_ok=True)
        total, dropped = total - size, dropped + 1
    return dropped


def to_json(item: Item) -> bytes:
    """An item as its file holds it."""
    values = asdict(item)
    payload = values.pop("payload")
    try:
        values["payload"] = payload.decode()
    except UnicodeDecodeError:
        values["payload_base64"] = base64.b64encode(payload).decode()
    return json.dumps(values, indent=1).encode()


def from_json(data: bytes) -> Item:
    """The item of a file; raises QuarantineError if it is none."""
    try:
        values = json.loads(data)
        encoded = values.pop("payload_base64", None)
        text = values.pop("payload", "")
        payload = text.encode() if encoded is None else base64.b64decode(encoded, validate=True)
        return Item(payload=payload, **values)
    except (AttributeError, TypeError, ValueError, RecursionError, binascii.Error) as error:
        raise QuarantineError(f"not an item of the quarantine: {error}") from None


def items(state_dir: Path) -> list[Item]:
    """All items that can be read, oldest first."""
    found = []
    for path in sorted(folder(state_dir).glob(f"*{SUFFIX}")):
        with contextlib.suppress(OSError, QuarantineError):
            found.append(from_json(path.read_bytes()))
    return sorted(found, key=lambda item: item.at)


def find(state_dir: Path, wanted: str) -> Item:
    """The item of an id, or of an id's beginning or end; raises QuarantineError."""
    place = folder(state_dir)
    names = [path.stem for path in place.glob(f"*{SUFFIX}")]
    matches = [name for name in names if name.startswith(wanted) or name.endswith(wanted)]
    if wanted in names:
        matches = [wanted]
    if len(matches) != 1:
        count = f"{len(matches)} items" if matches else "no item"
        raise QuarantineError(f"{count} in {place} of the id {wanted!r}: see `quarantine list`")
    try:
        return from_json((place / f"{matches[0]}{SUFFIX}").read_bytes())
    except OSError as error:
        raise QuarantineError(f"{matches[0]} can't be read: {error}") from None


def drop(state_dir: Path, item: Item) -> None:
    """Remove an item for good."""
    (folder(state_dir) / f"{item.id}{SUFFIX}").unlink(missing_ok=True)


def shown(item: Item) -> dict[str, Any]:
    """An item for a person's eyes: secrets masked, the payload bounded."""
    values = asdict(replace(item, payload=b""))
    values["payload"] = _shown(item.payload)
    values["whole"] = item.is_whole
    return values


def _shown(payload: bytes) -> Any:
    """A message as what it says; anything else as text."""
    try:
        value = json.loads(payload)
        if isinstance(value, Mapping):
            return redact.fields({**value, "body": _body(value)})
    except (ValueError, RecursionError):
        pass
    return redact.text(payload[:SHOWN].decode(errors="replace"))


def _body(message: Mapping[str, Any]) -> Any:
    body, properties = message.get("body"), message.get("properties")
    encoding = properties.get("body_encoding") if isinstance(properties, Mapping) else None
    if isinstance(body, str) and encoding == "base64":
        with contextlib.suppress(ValueError):
            body = base64.b64decode(body).decode(errors="replace")
    if isinstance(body, str):
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(body)
    return body if len(str(body)) <= SHOWN else redact.text(str(body))[:SHOWN]
