"""Text as the fonts can draw it: in lines that fit, and of characters that they have.

The fonts are those that reportlab brings: Latin letters, and no other script.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from reportlab.pdfbase.pdfmetrics import getFont, registerFont
from reportlab.pdfbase.ttfonts import TTFont

FONT, BOLD = "Vera", "VeraBd"
MOST_LINES = 3
MOST_CHARACTERS = 500  # of a text that are looked at


def load_fonts() -> None:
    for name in (FONT, BOLD):
        registerFont(TTFont(name, f"{name}.ttf"))


def wrapped(text: str, width: float, font: str, size: float, most: int = MOST_LINES) -> str:
    """The text in lines no wider than this, at most so many; what is cut off ends in an ellipsis.

    A word that is too long is broken, and a character that the font lacks is a question mark.
    """
    lines: list[str] = []
    rest = drawable(text[:MOST_CHARACTERS])
    while rest and len(lines) < most:
        end = _end_of_line(rest, width, font, size)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if rest or len(text) > MOST_CHARACTERS:
        last = lines.pop() if lines else ""
        room = _fitting(last, width - _width("…", font, size), font, size)
        lines.append(f"{last[:room]}…")
    return "\n".join(lines)


def _end_of_line(text: str, width: float, font: str, size: float) -> int:
    end = max(1, _fitting(text, width, font, size))
    space = text.rfind(" ", 1, end + 1) if end < len(text) else -1
    # Not after a short word, which would leave most of the line empty before a long one.
    return space if space > end // 2 else end


def _fitting(text: str, width: float, font: str, size: float) -> int:
    """How many of the first characters are no wider than this together."""
    used = 0.0
    for place, character in enumerate(text):
        used += _width(character, font, size)
        if used > width:
            return place
    return len(text)


def drawable(text: str) -> str:
    """The text in one line, of characters that the fonts have."""
    normal = unicodedata.normalize("NFC", text.strip())
    return "".join(map(_glyph, normal))


@lru_cache(maxsize=4096)
def _glyph(character: str) -> str:
    if character.isspace():
        return " "
    known = getFont(FONT).face.charToGlyph
    return character if ord(character) in known and character.isprintable() else "?"


@lru_cache(maxsize=4096)
def _width(character: str, font: str, size: float) -> float:
    width: float = getFont(font).stringWidth(character, size)
    return width
