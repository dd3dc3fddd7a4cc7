"""A record: a span or log record, with the encoded resource and scope that it belongs to.

A span that is not sampled stands in the table of what is under way only, and is not sent. Each
record stands for itself, so a slot's next owner, of whatever service, goes on in the ring.
"""

from __future__ import annotations

import struct

SPAN = b"T"
UNSAMPLED = b"U"  # the same for a span that is not to be sent
LOG = b"L"
_PREFIX = struct.Struct("<cII")  # the kind, and how long resource and scope are


def prefix(resource: bytes, scope: bytes, kind: bytes = SPAN) -> bytes:
    """What stands before the message of each span, or log record, of this resource and scope.

    A record is the two, one after the other.
    """
    return _PREFIX.pack(kind, len(resource), len(scope)) + resource + scope


def body(record: bytes) -> tuple[bytes, bytes]:
    """The prefix and the message of a record; raises ValueError if it is none."""
    if not _is_whole(record):
        raise ValueError("no record")
    at = body_at(record)
    return record[:at], record[at:]


def ids(record: bytes) -> tuple[str, str]:
    """The trace id and the span id of a span's record, in hex; ValueError if it is none."""
    _, span = body(record)
    # Our encoders write them first: fields 1 and 2 of the Span message.
    if span[:2] != b"\x0a\x10" or span[18:20] != b"\x12\x08":
        raise ValueError("a span that does not begin with its ids")
    return span[2:18].hex(), span[20:28].hex()


def traceparent(record: bytes | None) -> str:
    """A span's record as a traceparent header; empty where there is none."""
    if record is None:
        return ""
    trace_id, span_id = ids(record)
    return f"00-{trace_id}-{span_id}-{'01' if is_span(record) else '00'}"


def is_span(record: bytes) -> bool:
    """Whether it is a span to be sent."""
    return record[:1] == SPAN and _is_whole(record)


def is_log(record: bytes) -> bool:
    """Whether it is a log record."""
    return record[:1] == LOG and _is_whole(record)


def origin(record: bytes) -> tuple[bytes, bytes]:
    """The resource and the scope of a record."""
    _, resource_size, scope_size = _PREFIX.unpack_from(record)
    at = _PREFIX.size + resource_size
    return record[_PREFIX.size : at], record[at : at + scope_size]


def body_at(record: bytes) -> int:
    """Where the message of a record begins that is one."""
    _, resource_size, scope_size = _PREFIX.unpack_from(record)
    return _PREFIX.size + int(resource_size) + int(scope_size)


def _is_whole(record: bytes) -> bool:
    return len(record) >= _PREFIX.size and body_at(record) <= len(record)
