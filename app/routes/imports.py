"""Importing CSV files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

from flask import Blueprint, Response, current_app, request
from pydantic import Field, StringConstraints

from app import registry
from app.errors import InvalidError
from app.routes import answers, body, uploads
from app.routes.document import Accepted, Upload, described
from app.services import csvfile, importfolder
from app.services import uploads as kept
from app.services.files import OutsideError
from app.tasks.imports import CHUNK_SIZE, LARGEST_CHUNK, import_csv

blueprint = Blueprint("imports", __name__)

LONGEST_PATH = 1024  # characters
DIGITS = 9

T = TypeVar("T")
ChunkSize = Annotated[int, Field(ge=1, le=LARGEST_CHUNK)]


class Options(body.Body):
    chunk_size: ChunkSize = CHUNK_SIZE


class Wanted(Options):
    """The size may be given as it is, or among the options."""

    options: Options = Options()

    def size(self) -> int:
        """Raises InvalidError if it is given twice."""
        inner = "chunk_size" in self.options.model_fields_set
        if inner and "chunk_size" in self.model_fields_set:
            raise InvalidError([("options.chunk_size", "Is given twice.")])
        return self.options.chunk_size if inner else self.chunk_size


class File(Wanted):
    file_path: Annotated[body.Text, StringConstraints(min_length=1, max_length=LONGEST_PATH)]


class Form(Options):
    """An upload; its `chunk_size` may also be given among `options`, as JSON."""

    file: Upload


@blueprint.post("/import-csv")
@described(
    "Files",
    request=File,
    form=Form,
    answers={202: Accepted},
    problems={
        411: "An upload has no Content-Length.",
        413: "The body, or the uploaded file, is too large.",
    },
    example={"file_path": "people.csv", "chunk_size": 500},
)
def queue_import() -> Response:
    """Queue the import of an uploaded file, or of one in the import folder."""
    if request.mimetype == "multipart/form-data":
        path, name, size = _uploaded()
    else:
        path, name, size = _in_folder()
    task_id = _publish(path, {"chunk_size": size, "name": name})
    return answers.accepted("CSV import queued", task_id)


def _publish(path: str, options: dict[str, Any]) -> str:
    try:
        return str(registry.publish(import_csv.s(path, options)).id)
    except Exception:
        kept.let_go(_folder(), path)
        raise


def _folder() -> Path:
    folder: Path = current_app.extensions["settings"].import_dir
    return folder


def _in_folder() -> tuple[str, str, int]:
    wanted = body.read(File)
    size = wanted.size()
    path = _named("file_path", lambda: importfolder.offered(_folder(), wanted.file_path))
    with path.open("rb") as file:
        _named("file_path", lambda: csvfile.layout(file))
    inside = str(path.relative_to(_folder().resolve()))
    return inside, inside[-uploads.LONGEST_NAME :], size


def _uploaded() -> tuple[str, str, int]:
    upload = uploads.received(current_app.extensions["settings"].import_max_bytes)
    size = _wanted().size()
    stream: IO[bytes] = upload.stream
    _named("file", lambda: csvfile.layout(stream))
    stream.seek(0)
    return kept.save(stream, _folder()), uploads.display_name(upload.filename), size


def _wanted() -> Wanted:
    fields = {name: _single(name, values) for name, values in request.form.lists()}
    return body.checked(Wanted, fields)


def _single(name: str, values: list[str]) -> Any:
    if len(values) > 1:
        raise InvalidError([(name, "Is given twice.")])
    text = values[0]
    if name == "options":
        return body.member(name, text)
    # A form has only texts; what is no number is refused by the model.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else text


def _named(field: str, check: Callable[[], T]) -> T:
    """What `check` gives; a file that it refuses is refused under this field's name."""
    try:
        return check()
    except (OutsideError, csvfile.BadFileError) as error:
        raise InvalidError([(field, str(error))]) from None
