"""The files that the demo uploads, made when they are needed."""

from __future__ import annotations

import struct
import zlib

ROWS = 5000
SIDE = 320  # pixels
BAD_LINE = 1000


def csv(run: str) -> bytes:
    """ROWS orders, and a row that lacks fields; no other run's are the same."""
    lines = [f"{run}-{n},{n % 7 + 1},{n % 90 + n / 100:.2f}" for n in range(ROWS)]
    lines.insert(BAD_LINE, "a row that lacks the other two")
    return "\n".join(["order,pieces,price", *lines, ""]).encode()


def png() -> bytes:
    """A square that goes from blue to red."""
    row = b"\0" + b"".join(bytes((x * 255 // SIDE, 64, 255 - x * 255 // SIDE)) for x in range(SIDE))
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    parts = (_part(b"IHDR", head), _part(b"IDAT", zlib.compress(row * SIDE)), _part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _part(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
