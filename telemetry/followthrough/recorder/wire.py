"""Protocol buffers' encoding, as far as OTLP needs it: values with their field's tag, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

_DOUBLE = struct.Struct("<d")
_MOST_KEYS = 4096
_ONE_BYTE = 0x80  # lengths below take one byte
_MASK = (1 << 64) - 1
_INT64 = range(-(1 << 63), 1 << 63)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= _ONE_BYTE:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


_SMALL = [_varint(number) for number in range(1 << 11)]


def varint(number: int) -> bytes:
    """A number of at most 64 bits, not negative."""
    return _SMALL[number] if number < len(_SMALL) else _varint(number)


def message(tag: bytes, body: bytes) -> bytes:
    """A field that holds a message, or text, or bytes."""
    size = len(body)
    return tag + (_SMALL[size] if size < len(_SMALL) else _varint(size)) + body


def text(tag: bytes, value: str) -> bytes:
    """A field of text; what UTF-8 can't write becomes a question mark."""
    return message(tag, value.encode(errors="replace"))


class _Keys(dict[str, bytes]):
    """Each attribute's name, encoded once; a program that makes up names can't fill the memory."""

    def __missing__(self, key: str) -> bytes:
        encoded = text(b"\x0a", key)
        if len(self) < _MOST_KEYS:
            self[key] = encoded
        return encoded


_keys = _Keys()


def attributes(tag: bytes, pairs: Mapping[str, Any]) -> bytes:
    """A field of a KeyValue for each attribute."""
    parts: list[bytes] = []
    for key, value in pairs.items():
        name, content = _keys[key], any_value(value)
        size = len(content)
        if size < _ONE_BYTE:
            parts += (tag, varint(len(name) + size + 2), name, b"\x12", _SMALL[size], content)
        else:
            body = name + message(b"\x12", content)
            parts += (tag, varint(len(body)), body)
    return b"".join(parts)


def any_value(value: Any) -> bytes:
    """An AnyValue: a value of none of OTLP's types, or a number too large for it, as text."""
    kind = type(value)
    if kind is str:
        raw = value.encode(errors="replace")
        size = len(raw)
        return b"\x0a" + (_SMALL[size] if size < _ONE_BYTE else varint(size)) + raw
    if kind is int:
        return _integer(value)
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    return _other(value)


def _integer(value: int) -> bytes:
    if value in _INT64:
        return b"\x18" + varint(value & _MASK)
    return text(b"\x0a", str(value))


def _other(value: Any) -> bytes:  # noqa: PLR0911  a table of types
    if value is None:
        return b""
    if isinstance(value, str):
        return text(b"\x0a", value)
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return b"\x21" + _DOUBLE.pack(value)
    if isinstance(value, bytes):
        return message(b"\x3a", value)
    if isinstance(value, Mapping):
        return message(b"\x32", attributes(b"\x0a", {str(k): v for k, v in value.items()}))
    if isinstance(value, Sequence):
        return message(b"\x2a", b"".join(message(b"\x0a", any_value(each)) for each in value))
    return text(b"\x0a", str(value))
