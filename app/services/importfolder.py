"""The folder that files are imported from."""

from __future__ import annotations

from pathlib import Path

from app.services import files
from app.services.files import OutsideError
from app.services.uploads import UPLOADS


def find(folder: Path, wanted: str) -> Path:
    """The file that a path inside the folder names; raises OutsideError."""
    try:
        return files.find(folder, wanted)
    except OutsideError:
        raise OutsideError("Is no file in the import folder.") from None


def offered(folder: Path, wanted: str) -> Path:
    """As `find`, but none of the uploads: each belongs to the import that it was sent for."""
    path = find(folder, wanted)
    if path.is_relative_to(folder.resolve() / UPLOADS):
        raise OutsideError("Is no file in the import folder.")
    return path
