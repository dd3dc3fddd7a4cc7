"""Thumbnails: asking for them, and fetching one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

from flask import Blueprint, Response, abort, current_app, request, send_file
from pydantic import AfterValidator, Field, WithJsonSchema

from app import registry
from app.errors import InvalidError
from app.routes import answers, body, uploads
from app.routes.document import Accepted, Upload, described
from app.services import images, thumbnails
from app.services import uploads as kept
from app.tasks.images import process_image

blueprint = Blueprint("images", __name__)

DEFAULT_SIZES = ["128x128", "512x512"]
MEDIA_TYPE = 415
TOO_LARGE = 413


def _size(text: str) -> str:
    return str(images.size(text))


Size = Annotated[
    str,
    AfterValidator(_size),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9][0-9]{0,3}x[1-9][0-9]{0,3}$"}),
]


class Wanted(body.Body):
    sizes: Annotated[list[Size], Field(min_length=1, max_length=images.MOST_SIZES)] = DEFAULT_SIZES


class Form(Wanted):
    """An image, and the boxes that its thumbnails fit in."""

    file: Upload


@blueprint.post("/process-image")
@described(
    "Files",
    form=Form,
    answers={202: Accepted},
    problems={
        411: "An upload has no Content-Length.",
        413: "The file is too large, or the image has too many pixels.",
        415: "The file is no image of a format that is taken.",
    },
)
def queue_image() -> Response:
    """Queue the making of an image's thumbnails."""
    settings = current_app.extensions["settings"]
    stream: IO[bytes] = uploads.received(settings.image_max_bytes).stream
    sizes = _wanted().sizes
    _check(stream, settings.image_max_pixels)
    stream.seek(0)
    folder = settings.files_dir / thumbnails.FOLDER
    return answers.accepted("Image processing started", _publish(stream, folder, sizes))


def _publish(stream: IO[bytes], folder: Path, sizes: list[str]) -> str:
    path = kept.save(stream, folder)
    try:
        return str(registry.publish(process_image.s(path, sizes)).id)
    except Exception:
        kept.let_go(folder, path)
        raise


def _check(stream: IO[bytes], most_pixels: int) -> None:
    try:
        images.check(stream, most_pixels)
    except images.TooLargeError as error:
        raise InvalidError([("file", str(error))], TOO_LARGE) from None
    except images.BadImageError as error:
        raise InvalidError([("file", str(error))], MEDIA_TYPE) from None


def _wanted() -> Wanted:
    given = {name: list(_parts(values)) for name, values in request.form.lists()}
    wanted = body.checked(Wanted, given)
    return Wanted(sizes=list(dict.fromkeys(wanted.sizes)))


def _parts(values: list[str]) -> Iterator[str]:
    """Sizes may come in fields of their own, or in one with commas."""
    for value in values:
        yield from (each.strip() for each in value.split(","))


@blueprint.get("/images/<image_id>/<size>")
@described(
    "Files",
    answers={200: "image/*"},
    problems={404: "No image has such a thumbnail, or its time is over."},
)
def thumbnail(image_id: str, size: str) -> Response:
    """Fetch a thumbnail."""
    folder = current_app.extensions["settings"].files_dir
    path = _found(image_id, size, folder)
    if path is None:
        abort(404, "No image has such a thumbnail, or its time is over.")
    response = send_file(path, thumbnails.MEDIA_TYPES[path.suffix])
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _found(image_id: str, size: str, folder: Path) -> Path | None:
    try:
        return thumbnails.find(image_id, images.size(size), folder)
    except ValueError:
        return None
