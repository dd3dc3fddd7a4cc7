"""A record of the bulk ring: a span, with the encoded resource and scope that it belongs to.

Each record stands for itself, so a slot's next owner, of whatever service, goes on in the ring.
"""

from __future__ import annotations

import struct

SPAN = b"T"
_PREFIX = struct.Struct("<cII")  # the kind, and how long resource and scope are


def prefix(resource: bytes, scope: bytes) -> bytes:
    """What stands before the bytes of each span of this resource and scope."""
    return _PREFIX.pack(SPAN, len(resource), len(scope)) + resource + scope


def split(record: bytes) -> tuple[bytes, bytes, bytes]:
    """The resource, the scope and the span of a record; raises ValueError if it is none."""
    if len(record) < _PREFIX.size:
        raise ValueError("too short for a record")
    kind, resource_size, scope_size = _PREFIX.unpack_from(record)
    scope_at = _PREFIX.size + resource_size
    span_at = scope_at + scope_size
    if kind != SPAN or span_at > len(record):
        raise ValueError("no span's record")
    return record[_PREFIX.size : scope_at], record[scope_at:span_at], record[span_at:]
