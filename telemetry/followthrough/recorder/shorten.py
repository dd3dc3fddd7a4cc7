"""A span's record without what telling its end can do without."""

from __future__ import annotations

from collections.abc import Iterator

from .. import names
from . import record as records
from . import wire

# Who asked for it, which task or route it is, and whether its end alerts.
KEPT = frozenset(
    key.encode()
    for key in (
        names.CELERY_TASK,
        names.CELERY_CRITICAL,
        names.CELERY_RETRIES,
        names.MESSAGING_SYSTEM,
        names.MESSAGING_DESTINATION,
        names.MESSAGING_OPERATION_TYPE,
        names.MESSAGING_MESSAGE_ID,
        names.HTTP_METHOD,
        names.HTTP_REQUEST_ID,
        names.HTTP_ROUTE,
        names.URL_PATH,
    )
)
_LONGEST = 512  # bytes of an attribute that is kept
_VARINT, _FIXED64, _LEN, _FIXED32 = 0, 1, 2, 5
_ATTRIBUTES, _EVENTS, _LINKS = 9, 11, 13  # of a Span
_KIND, _CONSUMER = 6, b"\x30\x05"
_RESOURCE = 1  # of a ResourceSpans


def shortened(record: bytes, room: int) -> bytes:
    """The record in at most so many bytes; empty where even that is too little."""
    resource, scope = records.origin(record)
    _, span = records.body(record)
    short = records.prefix(_resource(resource), scope, record[:1]) + _span(span)
    return short if len(short) <= room else b""


def is_run(record: bytes) -> bool:
    """Whether it is the span of a task's run, not of its sending, or of anything else."""
    if names.CELERY_TASK.encode() not in record:
        return False
    _, span = records.body(record)
    return any(number == _KIND and whole == _CONSUMER for number, whole, _ in fields(span))


def _resource(message: bytes) -> bytes:
    parts = []
    for number, whole, body in fields(message):
        if number == _RESOURCE:
            kept = [each for _, each, pair in fields(body) if _key(pair).startswith(b"service.")]
            parts.append(wire.message(b"\x0a", b"".join(kept)))
        else:
            parts.append(whole)
    return b"".join(parts)


def _span(message: bytes) -> bytes:
    return b"".join(
        whole
        for number, whole, body in fields(message)
        if number not in (_EVENTS, _LINKS)
        and (number != _ATTRIBUTES or (_key(body) in KEPT and len(body) <= _LONGEST))
    )


def _key(pair: bytes) -> bytes:
    return next((body for number, _, body in fields(pair) if number == 1), b"")


def fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The fields of a message: each one's number, its bytes, and the content of a nested one."""
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        kind, content = tag & 7, at
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _LEN:
            size, content = _varint(message, at)
            at = content + size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"no field of OTLP: {tag}")
        yield tag >> 3, message[begin:at], message[content:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while message[at] & 0x80:
        number |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return number | message[at] << shift, at + 1
