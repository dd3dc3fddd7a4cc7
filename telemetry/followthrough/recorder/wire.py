"""Protocol buffers' encoding, as far as OTLP needs it: values with their field's tag, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from .. import names, redact

_NUMBERS = frozenset({int, bool, float})  # which hold no secrets
_DOUBLE = struct.Struct("<d")
_MOST_KEPT = 2048
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


_MOST_SMALL = 1 << 11
_MOST_TWO, _MOST_THREE = 1 << 14, 1 << 21  # numbers below take two bytes, and three
_MOST_PORTS = 1 << 16  # those of callers that keep their connection come again
_SMALL = [_varint(number) for number in range(_MOST_SMALL)]
_SMALL_INTEGER = [b"\x12%c\x18%b" % (len(each) + 1, each) for each in _SMALL]
_DOUBLE_VALUE = b"\x12\x09\x21"  # an AnyValue of nine bytes that holds a double
_MOST_SHORT = 126  # bytes of text whose lengths, and that of its AnyValue, take one byte
_SHORT_TEXT = [bytes((0x12, size + 2, 0x0A, size)) for size in range(_MOST_SHORT)]


def varint(number: int) -> bytes:
    """A number of at most 64 bits, not negative."""
    return _SMALL[number] if number < _MOST_SMALL else _varint(number)


def message(tag: bytes, body: bytes) -> bytes:
    """A field that holds a message, or text, or bytes."""
    size = len(body)
    return tag + (_SMALL[size] if size < _MOST_SMALL else _varint(size)) + body


def text(tag: bytes, value: str) -> bytes:
    """A field of text; what UTF-8 can't write becomes a question mark."""
    return message(tag, value.encode(errors="replace"))


class Texts(dict[str, bytes]):
    """Fields of short texts that come again and again, each encoded once.

    A program that makes up names can't fill the memory.
    """

    def __init__(self, tag: bytes) -> None:
        self._tag = tag

    def __missing__(self, value: str) -> bytes:
        encoded = text(self._tag, value)
        if len(encoded) < _ONE_BYTE:
            _keep(self, value, encoded)
        return encoded


class Fields(dict[tuple[str, Any], bytes]):
    """KeyValue fields of one tag; those of texts that come again and again are encoded once."""

    def __init__(self, tag: bytes) -> None:
        self._tag = tag
        # Apart from texts: True is 1 to a dictionary.
        self._numbers: dict[tuple[str, Any], bytes] = {}
        # What stands before short texts, by their name and length in bytes.
        self._heads: dict[tuple[str, int], bytes] = {}
        # And before numbers that are no integers.
        self._doubles: dict[str, bytes] = {}
        # And before integers of three bytes.
        self._ports: dict[str, bytes] = {}

    def of(self, pairs: list[tuple[str, Any]]) -> bytes:
        """The fields of these attributes, one after the other."""
        try:
            return b"".join(map(self.__getitem__, pairs))
        except TypeError:
            # A list or a mapping is no key of a dictionary.
            return b"".join(map(self.__missing__, pairs))

    def __missing__(self, pair: tuple[str, Any]) -> bytes:
        name, value = pair
        kind = type(value)
        if kind is str:
            if name in _UNIQUE and value.isascii():
                place = name, len(value)
                return (self._heads.get(place) or self._head(place)) + value.encode()
            return self._text(name, value)
        if kind is int:
            return self._numbers.get(pair) or self._number(pair)
        if kind is float:
            # Others each time: all but the number itself is kept.
            return (self._doubles.get(name) or self._double(name)) + _DOUBLE.pack(value)
        return self._field(name, _value(_redacted(name, value)))

    def _text(self, name: str, value: str) -> bytes:
        of = redact.kind(name)
        if of == redact.TEXT:
            told = redact.text(value)
        else:
            told = value if of == redact.SAFE else redact.value_of(name, value)
        raw = told.encode("utf-8", "replace")
        size = len(raw)
        if size >= _MOST_SHORT:
            return self._field(name, _value(told))
        # Most paths and callers are others each time: what stands before them is kept apart.
        place = name, size
        encoded = (self._heads.get(place) or self._head(place)) + raw
        if len(encoded) < _ONE_BYTE:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[name, value] = encoded
        return encoded

    def _number(self, pair: tuple[str, int]) -> bytes:
        name, value = pair
        if _MOST_TWO <= value < _MOST_THREE:
            # A caller's port, say, and most come from another one each time.
            head = self._ports.get(name) or self._port(name)
            encoded = head + bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
        else:
            encoded = self._field(name, _value(value))
        if 0 <= value < _MOST_PORTS:
            _keep(self._numbers, pair, encoded)
        return encoded

    def _double(self, name: str) -> bytes:
        whole = self._field(name, _value(0.0))
        _keep(self._doubles, name, whole[: -_DOUBLE.size])
        return self._doubles[name]

    def _port(self, name: str) -> bytes:
        whole = self._field(name, _value(_MOST_TWO))
        _keep(self._ports, name, whole[:-3])
        return self._ports[name]

    def _head(self, place: tuple[str, int]) -> bytes:
        name, size = place
        whole = self._field(name, _value("x" * size))
        head = whole[: len(whole) - size]
        _keep(self._heads, place, head)
        return head

    def _field(self, name: str, value: bytes) -> bytes:
        key = _keys[name]
        size = len(key) + len(value)
        return self._tag + (_SMALL[size] if size < _MOST_SMALL else _varint(size)) + key + value


# Ids, which hold no secrets and are others each time, would only push out what comes again.
_UNIQUE = frozenset({names.HTTP_REQUEST_ID, names.MESSAGING_MESSAGE_ID, names.CELERY_ROOT_ID})


def _keep(found: dict[Any, bytes], key: Any, encoded: bytes) -> None:
    # One that is full of what came once begins anew, and soon has again what comes often.
    if len(found) >= _MOST_KEPT:
        found.clear()
    found[key] = encoded


_keys = Texts(b"\x0a")
_fields: dict[bytes, Fields] = {}


def attributes(tag: bytes, pairs: Mapping[str, Any]) -> bytes:
    """A field of a KeyValue for each attribute, its secrets masked."""
    fields = _fields.get(tag)
    if fields is None:
        fields = _fields[tag] = Fields(tag)
    return fields.of(list(pairs.items()))


def _redacted(name: str, value: Any) -> Any:
    if type(value) in _NUMBERS:
        return value
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return redact.value_of(name, value)
    return redact.value_of(name, value) if isinstance(value, str) else value


def _value(value: Any) -> bytes:
    """A KeyValue's field of a value."""
    kind = type(value)
    if kind is str:
        raw: bytes = value.encode("utf-8", "replace")
        size = len(raw)
        if size < _MOST_SHORT:
            return _SHORT_TEXT[size] + raw
    elif kind is float:
        return _DOUBLE_VALUE + _DOUBLE.pack(value)
    elif kind is int and 0 <= value < _MOST_THREE:
        if value < _MOST_SMALL:
            return _SMALL_INTEGER[value]
        # A port, say.
        low, high = value & 0x7F | 0x80, value >> 7 & 0x7F
        if value < _MOST_TWO:
            return bytes((0x12, 3, 0x18, low, high))
        return bytes((0x12, 4, 0x18, low, high | 0x80, value >> 14))
    return message(b"\x12", any_value(value))


def any_value(value: Any) -> bytes:
    """An AnyValue: a value of none of OTLP's types, or a number too large for it, as text."""
    kind = type(value)
    if kind is str:
        return text(b"\x0a", value)
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
