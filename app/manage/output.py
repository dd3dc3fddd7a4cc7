"""What the manager writes: tables, and the logs of all services as one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)
CHUNK = 64 * 1024  # bytes shown of one log at a time
LARGEST_LOG = 16 * 1024**2  # bytes


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether `stream` is a terminal that may have colours (NO_COLOR, FORCE_COLOR, TERM)."""
    if environ.get("NO_COLOR"):
        return False
    terminal = stream.isatty() and environ.get("TERM") != "dumb"
    return bool(environ.get("FORCE_COLOR")) or terminal


def write(stream: TextIO, text: str) -> None:
    """Write at once; a reader that has gone is no reason to stop the services."""
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Rows in aligned columns, each row one line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(f"{indent}{_line(row, widths)}\n" for row in rows)


def show_table(stream: TextIO, rows: Sequence[Sequence[str]]) -> None:
    """A table with a head: drawn on a terminal, elsewhere a line a row."""
    if not stream.isatty():
        return write(stream, table(rows))
    from rich.console import Console  # noqa: PLC0415  only a terminal needs it
    from rich.table import Column, Table  # noqa: PLC0415

    drawn = Table(*(Column(name, overflow="fold") for name in rows[0]))
    for row in rows[1:]:
        drawn.add_row(*row)
    return Console(file=stream).print(drawn)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def last_lines(path: Path, count: int = 15) -> list[str]:
    """The last lines of a log file; none if it can't be read."""
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - CHUNK))
        return log.read().decode(errors="replace").splitlines()[-count:]
    return []


def trim(path: Path) -> None:
    """Keep a log bounded: what is full becomes `<name>.log.1`, and the file begins anew.

    Its writer keeps it open, so the file is copied and cut; lines written in between are lost.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size > LARGEST_LOG:
            path.with_name(f"{path.name}.1").write_bytes(path.read_bytes())
            os.truncate(path, 0)


class Tail:
    """Shows what is appended to log files, each line after the name of its service."""

    def __init__(self, logs: Iterable[Path], stream: TextIO, *, colour: bool) -> None:
        paths = list(logs)
        width = max(len(path.stem) for path in paths)
        self._stream = stream
        self._files = [
            _Followed(path, _prefix(path.stem.ljust(width), number, colour=colour))
            for number, path in enumerate(paths)
        ]

    def show(self) -> None:
        """Write what is new in each file."""
        text = "".join(file.new_lines() for file in self._files)
        if text:
            write(self._stream, text)

    def close(self) -> None:
        for file in self._files:
            file.close()


def _prefix(name: str, number: int, *, colour: bool) -> str:
    # After the name every line starts without a colour that an earlier one left on.
    return f"\033[{COLOURS[number % len(COLOURS)]}m{name} |\033[0m " if colour else f"{name} | "


class _Followed:
    def __init__(self, path: Path, prefix: str) -> None:
        path.touch()
        self._path = path
        self._prefix = prefix
        self._file = path.open("rb", buffering=0)
        self._file.seek(0, os.SEEK_END)
        self._part = b""

    def new_lines(self) -> str:
        data = self._file.read(CHUNK) or self._from_start()
        *lines, self._part = (self._part + data).split(b"\n")
        return "".join(f"{self._prefix}{line.decode(errors='replace')}\n" for line in lines)

    def close(self) -> None:
        self._file.close()

    def _from_start(self) -> bytes:
        # The file was cut while it was being followed.
        if os.fstat(self._file.fileno()).st_size >= self._file.tell():
            return b""
        self._file.seek(0)
        return self._file.read(CHUNK) or b""
