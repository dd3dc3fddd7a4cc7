"""Files that go with a mail: named by their path inside the folder of the service's files."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from app.services import files

MOST = 10
LARGEST = 20 * 1024**2  # bytes, of all attachments of a mail together
UNKNOWN = ("application", "octet-stream")


class UnfitError(Exception):
    """An attachment can't be sent: the field at fault, and what is wrong with it."""

    def __init__(self, field: str, wrong: str) -> None:
        self.field = field
        self.wrong = wrong
        super().__init__(f"{field}: {wrong}")


def find(folder: Path, references: Sequence[str]) -> list[Path]:
    """The files that these references name; raises UnfitError."""
    if len(references) > MOST:
        raise UnfitError("attachments", f"At most {MOST} files can be attached.")
    found = [_one(folder, f"attachments.{n}", each) for n, each in enumerate(references)]
    if sum(size for _, size in found) > LARGEST:
        raise UnfitError("attachments", f"Together larger than {LARGEST // 1024**2} MiB.")
    return [path for path, _ in found]


def content_type(name: str) -> tuple[str, str]:
    """The main and the sub type that a file's name stands for."""
    guessed, encoding = mimetypes.guess_type(name)
    main, _, sub = (guessed or "").partition("/")
    # Neither a packed file nor another mail may be shown as what is inside it.
    if encoding or main in ("", "message", "multipart"):
        return UNKNOWN
    return main, sub


def _one(folder: Path, field: str, reference: str) -> tuple[Path, int]:
    parts = PurePosixPath(reference)
    if parts.is_absolute() or ".." in parts.parts:
        raise UnfitError(field, "Must be a path inside the folder of files, such as reports/a.pdf.")
    try:
        path = files.find(folder, reference)
        return path, path.stat().st_size
    except (files.OutsideError, OSError):
        raise UnfitError(field, "Names no file there.") from None
