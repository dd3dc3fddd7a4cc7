"""Where thumbnails are kept: a file each, by the image's content and the size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.services import files, images
from app.services.files import OutsideError
from app.services.images import Size

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = "images"
MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_IMAGE_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
# What keeps the look of each format, and its transparency.
_MADE = {
    "JPEG": ("JPEG", ".jpg", {"quality": 85, "optimize": True}),
    "PNG": ("PNG", ".png", {}),
    "WEBP": ("WEBP", ".webp", {"quality": 85}),
    "GIF": ("PNG", ".png", {}),
}


@dataclass(frozen=True)
class Original:
    """What an image was, by the hash of its content; its sides are those that people see."""

    image_id: str
    format: str
    width: int
    height: int


@dataclass(frozen=True)
class Thumbnail:
    size: str
    width: int
    height: int
    file_path: str
    url: str


def make(
    path: Path, image_id: str, sizes: list[Size], folder: Path, most_pixels: int
) -> Iterator[Thumbnail]:
    """Write a thumbnail of each size into the folder of the service's files.

    Raises BadImageError or TooLargeError. Run again, it writes the same files again.
    """
    with path.open("rb") as file:
        picture = images.plain(file, sizes, most_pixels)
    original = Original(image_id, picture.format, picture.width, picture.height)
    for each in sizes:
        yield _written(images.fitted(picture, each), original, each, folder)
    # Last: who finds it finds the thumbnails too.
    with files.written(folder / FOLDER, f"{image_id}.json") as part:
        part.file.write(json.dumps(asdict(original)).encode())


def _written(small: Image, original: Original, size: Size, folder: Path) -> Thumbnail:
    kind, _, options = _MADE[original.format]
    with files.written(folder / FOLDER, _name(original, size)) as part:
        small.save(part.file, kind, **options)
    return _thumbnail(original, size)


def _name(original: Original, size: Size) -> str:
    return f"{original.image_id}-{size}{_MADE[original.format][1]}"


def _thumbnail(original: Original, size: Size) -> Thumbnail:
    sides = images.fit((original.width, original.height), size)
    path = f"{FOLDER}/{_name(original, size)}"
    return Thumbnail(str(size), *sides, path, f"/api/images/{original.image_id}/{size}")


def known(image_id: str, folder: Path) -> Original | None:
    """The image, if its thumbnails were made; the original file itself isn't kept."""
    if not _IMAGE_ID.fullmatch(image_id):
        return None
    try:
        path = files.find(folder, f"{FOLDER}/{image_id}.json")
        values: dict[str, Any] = json.loads(path.read_bytes())
    except (OutsideError, OSError):
        return None
    return Original(**values)


def find(image_id: str, size: Size, folder: Path) -> Path | None:
    """The file of a thumbnail, if there is one."""
    original = known(image_id, folder)
    if original is None:
        return None
    try:
        return files.find(folder, f"{FOLDER}/{_name(original, size)}")
    except OutsideError:
        return None


def made_before(
    image_id: str, sizes: list[Size], folder: Path
) -> tuple[Original, list[Thumbnail]] | None:
    """The image and its thumbnails as an earlier run has made them, if all are still there."""
    original = known(image_id, folder)
    if original is None or not all(find(image_id, each, folder) for each in sizes):
        return None
    return original, [_thumbnail(original, each) for each in sizes]
