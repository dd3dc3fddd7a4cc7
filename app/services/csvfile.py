"""Reads CSV files of any size: what they look like, and their rows from a place on."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

SAMPLE = 64 * 1024  # bytes that encoding and delimiter are detected from
SNIFFED = 8 * 1024  # characters; the sniffer's expressions get slow on more
DELIMITERS = ",;\t|"
MOST_COLUMNS = 1000
LONGEST_NAME = 255  # characters of a column's name
LONGEST_ROW = 1024**2  # characters; a longer one is a bad row, so that memory stays bounded
# What is tried at least after rows that took others along: see Lines.tighten.
SHORTEST_LIMIT = 16 * 1024

_MARKS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
_WIDE = {"utf-16-le", "utf-16-be"}


class BadFileError(Exception):
    """The file can't be read as CSV at all."""


class TooLongError(Exception):
    """A row is longer than LONGEST_ROW."""


class Place(NamedTuple):
    """Where a row starts: its byte, and the number of lines before it."""

    offset: int
    line: int


@dataclass(frozen=True)
class Layout:
    """What a file looks like; `start` is where its first row is."""

    encoding: str
    delimiter: str
    columns: list[str]
    start: Place


class Record(NamedTuple):
    """A row and the number of its first line, from 1; a bad row has a reason and no fields."""

    line: int
    fields: list[str]
    reason: str = ""


def layout(file: IO[bytes]) -> Layout:
    """Detect it from the start of the file; raises BadFileError."""
    file.seek(0)
    sample = file.read(SAMPLE)
    encoding, mark = _encoding(sample)
    text = sample[mark:].decode(encoding, "replace")
    if "\0" in text.partition("\n")[0] or text.count("\0") * 10 > len(text):
        raise BadFileError("Is no text file.")
    delimiter = _delimiter(text)
    lines = Lines(file, encoding, Place(mark, 0))
    header = next(records(lines, delimiter), Record(0, []))
    lines.let_go()
    if not header.fields:
        raise BadFileError(header.reason or "Is empty.")
    return Layout(encoding, delimiter, column_names(header.fields), lines.place)


def _encoding(sample: bytes) -> tuple[str, int]:
    """The encoding, and how many bytes its mark takes."""
    for mark, name in _MARKS.items():
        if sample.startswith(mark):
            return name, len(mark)
    if _is_utf8(sample):
        return "utf-8", 0
    return _guessed(sample), 0


def _is_utf8(sample: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        # A full sample's end may have cut a character.
        decoder.decode(sample, final=len(sample) < SAMPLE)
    except UnicodeDecodeError:
        return False
    # UTF-16 without a mark may look like it.
    return sample.count(0) * 4 <= len(sample)


def _guessed(sample: bytes) -> str:
    # It costs 10 MiB, which a worker that imports only UTF-8 never pays.
    from charset_normalizer import from_bytes  # noqa: PLC0415

    found = from_bytes(sample)
    best = found.best()
    likely = {each.encoding for each in found if best and not best < each}
    # Among what is as likely as the best, the most common.
    name = "cp1252" if not best or "cp1252" in likely else best.encoding.replace("_", "-")
    return name if name in _WIDE or _splits_at_ascii(name) else "cp1252"


def _splits_at_ascii(encoding: str) -> bool:
    # In others a place in the bytes would not tell how to go on from it.
    return "2022" not in encoding and '",;\n'.encode(encoding) == b'",;\n'


def _delimiter(text: str) -> str:
    try:
        found = csv.Sniffer().sniff(text[:SNIFFED], DELIMITERS).delimiter
    except csv.Error:
        found = ""
    header = text.partition("\n")[0]
    # The sniffer takes what is regular for a delimiter, even where no row has it.
    if found and found in DELIMITERS and found in header:
        return found
    return max(DELIMITERS, key=header.count)


def column_names(header: list[str]) -> list[str]:
    """Names that are unique and not empty; raises BadFileError if there are too many."""
    if len(header) > MOST_COLUMNS:
        raise BadFileError(f"Has {len(header)} columns; {MOST_COLUMNS} are allowed.")
    names: dict[str, None] = {}
    for number, cell in enumerate(header, 1):
        name = base = _writable(cell).strip()[:LONGEST_NAME] or f"column_{number}"
        again = 1
        while name in names:
            again += 1
            name = f"{base}_{again}"
        names[name] = None
    return list(names)


def _writable(text: str) -> str:
    return text.encode(errors="replace").decode()


class Lines:
    """The lines of a file from a place on; `place` is where the next one starts."""

    def __init__(self, file: IO[bytes], encoding: str, place: Place) -> None:
        self._file = file
        self._encoding = encoding
        # Bytes that aren't text come through as half surrogate pairs: the row is still told apart
        # from its neighbours, and each character still has the length that it has in the file.
        self._errors = "surrogatepass" if encoding in _WIDE else "surrogateescape"
        self._text: io.TextIOWrapper | None = None
        self.limit = LONGEST_ROW
        self.go(place)

    def let_go(self) -> None:
        """Leave the file open for others."""
        if self._text:
            self._text.detach()
            self._text = None

    def go(self, place: Place) -> None:
        self.let_go()
        self._file.seek(place.offset)
        self._text = io.TextIOWrapper(self._file, self._encoding, self._errors, newline="")
        self._offset, self._line = place
        self._row = 0

    @property
    def place(self) -> Place:
        return Place(self._offset, self._line)

    def begin_row(self) -> None:
        """Start counting; what the row before took is allowed for the next ones again."""
        self.limit = min(LONGEST_ROW, self.limit + self._row)
        self._row = 0

    def tighten(self) -> None:
        """Look less far for the end of a row, after one that had none.

        A file of open quotes would else be read from each of its lines on, again and again.
        """
        self.limit = max(SHORTEST_LIMIT, self.limit // 2)

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            raise StopIteration
        self._line += 1
        self._row += len(line)
        if self._row >= self.limit:
            raise TooLongError(f"The row is longer than {self.limit} characters.")
        return line

    def skip_line(self) -> None:
        """Go to the next line, however long this one is."""
        while (part := self._read()) and not part.endswith(("\n", "\r")):
            continue
        self._line += 1

    def _read(self) -> str:
        if not self._text:
            return ""
        try:
            text = self._text.readline(LONGEST_ROW)
        except UnicodeDecodeError:
            raise BadFileError(f"Ends in the middle of a character of {self._encoding}.") from None
        self._offset += self._size(text)
        return text

    def _size(self, text: str) -> int:
        if text.isascii() and self._encoding not in _WIDE:
            return len(text)
        return len(text.encode(self._encoding, self._errors))


def records(lines: Lines, delimiter: str) -> Iterator[Record]:
    """The rows; blank lines are none. A row that can't be read takes none of its neighbours."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = lines.place
        lines.begin_row()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, TooLongError) as error:
            yield Record(start.line + 1, [], _reason(error))
            # A quote that nobody closed has taken the rows after it along.
            lines.go(start)
            lines.skip_line()
            lines.tighten()
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
        else:
            if fields:
                yield Record(start.line + 1, fields)


def _reason(error: Exception) -> str:
    if isinstance(error, TooLongError):
        return str(error)
    return f"The row is no CSV: {error}."
