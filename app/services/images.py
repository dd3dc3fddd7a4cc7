"""What an image file is, and smaller copies of it with nothing but pixels in them.

Pillow is imported in the functions: only processes that meet an image load it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_SIDE = 4096  # pixels of a thumbnail
MOST_SIZES = 8
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_SIZE = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", re.ASCII)
_ORIENTATION = 0x0112
_TURNED = 5  # from this orientation on, width and height are exchanged
_WIDE_MODES = ("I", "F")

# What decoders raise at bytes that are no image, or not all of one.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class BadImageError(Exception):
    """The file is no whole image of a format that is taken."""


class TooLargeError(Exception):
    """The image has more pixels than are allowed."""


@dataclass(frozen=True)
class Size:
    """A box in pixels that a thumbnail fits in."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class Picture:
    """A decoded image; its sides are those that people see, its pixels aren't turned yet."""

    format: str
    width: int
    height: int
    pixels: Image
    orientation: int
    profile: bytes | None


def size(text: str) -> Size:
    """A size as in 128x128; raises ValueError saying what is wrong."""
    found = _SIZE.fullmatch(text)
    sides = [int(each) for each in found.groups()] if found else []
    if not sides or max(sides) > LARGEST_SIDE:
        raise ValueError(f"{text[:20]!r} is no size, as in 128x128, of 1 to {LARGEST_SIDE} pixels.")
    return Size(*sides)


def check(file: IO[bytes], most_pixels: int) -> None:
    """Look at the header alone; raises BadImageError or TooLargeError."""
    with _opened(file, most_pixels):
        pass


@contextmanager
def _opened(file: IO[bytes], most_pixels: int) -> Iterator[Image]:
    from PIL import Image  # noqa: PLC0415

    # Pillow's own limit would warn at a number of its choice; ours is the same in all processes.
    Image.MAX_IMAGE_PIXELS = None
    with _told_apart():
        image = Image.open(file, formats=FORMATS)
    with image:
        if image.width * image.height > most_pixels:
            raise TooLargeError(f"{image.width} x {image.height} pixels are over {most_pixels}.")
        yield image


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise BadImageError(f"Is no whole image of {', '.join(FORMATS)}.") from error


def plain(file: IO[bytes], sizes: list[Size], most_pixels: int) -> Picture:
    """Decode an image for thumbnails of these sizes; raises BadImageError or TooLargeError."""
    with _opened(file, most_pixels) as image:
        orientation = _orientation(image)
        width, height = image.size
        if orientation >= _TURNED:
            width, height = height, width
        with _told_apart():
            pixels = _pixels(image, sizes)
        profile = image.info.get("icc_profile")
        return Picture(str(image.format), width, height, pixels, orientation, profile)


def _orientation(image: Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except _UNREADABLE:
        return 1  # damaged metadata say nothing of the image itself
    return found if found in range(1, 9) else 1


def _pixels(image: Image, sizes: list[Size]) -> Image:
    """The pixels in RGB, grey or CMYK, with an alpha channel if there is transparency."""
    largest = max(max(each.width, each.height) for each in sizes)
    # A JPEG is decoded no larger than is needed.
    image.draft(None, (largest, largest))
    image.load()
    return _eight_bits(image)


def _eight_bits(image: Image) -> Image:
    if image.has_transparency_data:
        return _as(image, "RGBA")
    if image.mode.startswith(_WIDE_MODES):
        # Sixteen bits of grey; a plain conversion would cut them off at white.
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("1", "L"):
        return _as(image, "L")
    return image if image.mode == "CMYK" else _as(image, "RGB")


def _as(image: Image, mode: str) -> Image:
    # Pillow copies an image also if nothing is to be converted.
    return image if image.mode == mode else image.convert(mode)


def _in_srgb(image: Image, profile: bytes | None) -> Image:
    from PIL import ImageCms  # noqa: PLC0415

    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode=mode)
        except (ImageCms.PyCMSError, *_UNREADABLE):
            converted = None  # a profile that doesn't fit the image is dropped
        if converted is not None:
            return converted
    return image if image.mode == "L" else _as(image, mode)


def fit(sides: tuple[int, int], box: Size) -> tuple[int, int]:
    """The largest sides within the box that keep the proportions; an image is never enlarged."""
    width, height = sides
    scale = min(1.0, box.width / width, box.height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def fitted(picture: Picture, box: Size) -> Image:
    """A copy that fits the box, turned as people see it, with no metadata."""
    from PIL import Image  # noqa: PLC0415

    width, height = fit((picture.width, picture.height), box)
    # Made small first, and then the rest, which so needs less memory.
    sides = (height, width) if picture.orientation >= _TURNED else (width, height)
    resized = picture.pixels.resize(sides, Image.Resampling.LANCZOS, reducing_gap=3.0)
    small = _in_srgb(resized, picture.profile)
    # Pillow writes some of it into files: comments, profiles.
    small.info = {}
    return _turned(small, picture.orientation)


def _turned(image: Image, orientation: int) -> Image:
    from PIL import Image  # noqa: PLC0415

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image
