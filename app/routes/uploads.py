"""Files that come with a request, as a multipart form."""

from __future__ import annotations

from typing import IO

from flask import request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import LengthRequired, RequestEntityTooLarge, UnsupportedMediaType

from app.errors import InvalidError

FORM = 64 * 1024  # bytes around an uploaded file: its header and the other fields
LONGEST_NAME = 255  # characters


def received(largest: int) -> FileStorage:
    """The form's one file, of at most so many bytes; to be called before the form is read."""
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("Send the file in a form, as multipart/form-data.")
    if request.content_length is None:
        raise LengthRequired("An upload needs the header Content-Length.")
    request.max_content_length = largest + FORM
    upload = _one_file()
    if _size(upload.stream) > largest:
        raise RequestEntityTooLarge
    return upload


def _one_file() -> FileStorage:
    for field in request.files:
        if field != "file":
            raise InvalidError([(field, "Extra inputs are not permitted")])
    uploads = request.files.getlist("file")
    if len(uploads) != 1 or not uploads[0].filename:
        raise InvalidError([("file", "Exactly one file is required.")])
    return uploads[0]


def _size(stream: IO[bytes]) -> int:
    size = stream.seek(0, 2)
    stream.seek(0)
    return size


def display_name(filename: str | None) -> str:
    """An upload's name as people see it; it is never used as a path."""
    last = (filename or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:LONGEST_NAME] or "upload"
