"""A record of the bulk ring: a span, with the encoded resource and scope that it belongs to.

Each record stands for itself, so a slot's next owner, of whatever service, goes on in the ring.
"""

from __future__ import annotations

import struct

from . import wire

SPAN = b"T"
_TAG = b"\x12"  # ScopeSpans.spans
_PREFIX = struct.Struct("<cII")  # the kind, and how long resource and scope are


def prefix(resource: bytes, scope: bytes) -> bytes:
    """What stands before the bytes of each span of this resource and scope."""
    return _PREFIX.pack(SPAN, len(resource), len(scope)) + resource + scope


def span(prefix: bytes, body: bytes) -> bytes:
    """A record of a Span message."""
    return prefix + wire.message(_TAG, body)


def body(record: bytes) -> tuple[bytes, bytes]:
    """A record's prefix and its Span message."""
    resource, scope, field = split(record)
    at = 1
    while field[at] & 0x80:
        at += 1
    return prefix(resource, scope), field[at + 1 :]


def is_span(record: bytes) -> bool:
    """Whether `split` takes it."""
    if len(record) < _PREFIX.size:
        return False
    kind, resource_size, scope_size = _PREFIX.unpack_from(record)
    return bool(kind == SPAN and _PREFIX.size + resource_size + scope_size <= len(record))


def split(record: bytes) -> tuple[bytes, bytes, bytes]:
    """The resource, the scope and the span of a record; raises ValueError if it is none."""
    if not is_span(record):
        raise ValueError("no span's record")
    _, resource_size, scope_size = _PREFIX.unpack_from(record)
    scope_at = _PREFIX.size + resource_size
    span_at = scope_at + scope_size
    return record[_PREFIX.size : scope_at], record[scope_at:span_at], record[span_at:]
