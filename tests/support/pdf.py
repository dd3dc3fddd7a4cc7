"""Reads back what a PDF of reportlab's says: its pages, and the ASCII texts drawn on them."""

from __future__ import annotations

import base64
import re
import zlib

STREAM = re.compile(rb"/ASCII85Decode /FlateDecode.*?stream\r?\n(.*?)endstream", re.DOTALL)
TEXT = re.compile(rb"\(((?:[^()\\]|\\.)*)\) (?:Tj|')", re.DOTALL)
ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", pdf))


def texts(pdf: bytes) -> list[str]:
    """Each text that was drawn, a line of a table's cell on its own."""
    packed = [b"<~" + raw.strip() for raw in STREAM.findall(pdf)]
    streams = [zlib.decompress(base64.a85decode(raw, adobe=True)) for raw in packed]
    return [_plain(found) for stream in streams for found in TEXT.findall(stream)]


def _plain(raw: bytes) -> str:
    return ESCAPE.sub(_character, raw.decode("latin-1"))


def _character(found: re.Match[str]) -> str:
    code = found[1]
    return chr(int(code, 8)) if code.isdigit() else code
