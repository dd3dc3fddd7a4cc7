"""Brings a CSV file into its dataset, chunk by chunk, from wherever an earlier try has stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from json import JSONEncoder
from pathlib import Path
from typing import IO

from app.services import csvfile, datasets
from app.services.csvfile import BadFileError, Layout, Lines, Record
from app.services.datasets import Chunk, Progress, Source

BLOCK = 1024**2  # bytes read at a time
# Characters after which a chunk ends early, so that long rows need no more memory than short ones.
LARGEST_CHUNK = 8 * 1024**2

_json = JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def run(
    path: Path, name: str, chunk_size: int, committed: Callable[[Progress, int], None]
) -> Progress:
    """Import the file; `committed` is told the progress and the file's lines after each chunk.

    Raises BadFileError, also if the file changes meanwhile.
    """
    with path.open("rb") as file:
        version = _version(file)
        digest, lines = _digest(file)
        source = Source(name, str(path), digest)
        progress = datasets.begun(source, csvfile.layout(file))
        while not progress.completed:
            for chunk in chunks(file, progress, chunk_size):
                if _version(file) != version:
                    raise BadFileError("Was changed while it was imported.")
                progress = datasets.write(progress, chunk)
                committed(progress, lines)
                if progress.place != chunk.end:
                    break  # another import of this file was faster: go on from where it is
    return progress


def _version(file: IO[bytes]) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def _digest(file: IO[bytes]) -> tuple[str, int]:
    """The file's hash, and about how many lines it has."""
    hashed, lines, returns = sha256(), 0, 0
    while block := file.read(BLOCK):
        hashed.update(block)
        lines += block.count(b"\n")
        returns += block.count(b"\r")
    return hashed.hexdigest(), lines or returns


def chunks(file: IO[bytes], progress: Progress, size: int) -> Iterator[Chunk]:
    """The rest of the file, `size` rows at a time; the last chunk may be empty."""
    layout = progress.layout
    lines = Lines(file, layout.encoding, progress.place)
    chunk, length = Chunk(), 0
    try:
        for record in csvfile.records(lines, layout.delimiter):
            length += _take(chunk, record, layout)
            if len(chunk.rows) + len(chunk.bad) >= size or length >= LARGEST_CHUNK:
                chunk.end = lines.place
                yield chunk
                chunk, length = Chunk(), 0
        chunk.end, chunk.last = lines.place, True
        yield chunk
    finally:
        lines.let_go()


def _take(chunk: Chunk, record: Record, layout: Layout) -> int:
    """Put the row where it belongs; gives its length."""
    if reason := record.reason or _miscounted(record, layout):
        chunk.bad.append((record.line, reason))
        return 0
    data = _json(dict(zip(layout.columns, record.fields, strict=True)))
    if reason := _unwritable(data, record, layout):
        chunk.bad.append((record.line, reason))
    else:
        chunk.rows.append((record.line, data))
    return len(data)


def _miscounted(record: Record, layout: Layout) -> str:
    found, wanted = len(record.fields), len(layout.columns)
    return "" if found == wanted else f"The row has {found} fields, the header {wanted}."


def _unwritable(data: str, record: Record, layout: Layout) -> str:
    if not data.isascii():
        try:
            data.encode()
        except UnicodeEncodeError:
            return f"The row holds bytes that are no {layout.encoding}."
    # PostgreSQL can't keep it.
    if "\\u0000" in data and any("\0" in each for each in record.fields):
        return "The row holds a NUL character."
    return ""
