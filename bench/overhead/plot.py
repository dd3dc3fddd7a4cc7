"""What each kit adds to a bare program, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from bench.overhead.figures import OPERATIONS
from bench.overhead.kits import BY_NAME
from bench.overhead.table import TITLES

SCALE = 2  # for displays of twice the density
WIDTH = 900
BAR, GAP, HEAD = 20, 6, 34
LEFT, RIGHT = 190, 150
TEXT, FAINT, LINE = "#1f2933", "#616e7c", "#3e4c59"
OURS, OTHERS = "#1a7f5a", "#a9b8c6"


class _Canvas:
    """Draws in units that are independent of the scale."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), "white")
        self._draw = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, text: str, size: int, colour: str, anchor: str) -> None:
        font = ImageFont.load_default(size * SCALE)
        self._draw.text((x * SCALE, y * SCALE), text, colour, font=font, anchor=anchor)

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        corners = (x, y, x + width, y + height)
        self._draw.rectangle([value * SCALE for value in corners], fill=colour)


def draw(result: dict[str, Any], path: Path) -> None:
    """A PNG of the rows that tell what a kit adds."""
    rows = [row for row in result["rows"] if row["added"]]
    height = 84 + len(OPERATIONS) * HEAD + len(rows) * (BAR + GAP)
    canvas = _Canvas(WIDTH, height)
    title = "CPU time that telemetry adds to an operation, agent included"
    canvas.text(16, 24, title, 17, TEXT, "lm")
    most = max(row["added"]["high"] for row in rows)
    y = 46.0
    for operation in OPERATIONS:
        canvas.text(16, y + HEAD / 2, TITLES[operation], 14, TEXT, "lm")
        y += HEAD
        for row in (row for row in rows if row["operation"] == operation):
            _bar(canvas, y, row, (WIDTH - LEFT - RIGHT) / most)
            y += BAR + GAP
    where = result["surroundings"]
    note = f"Medians and quarters, in microseconds; Python {where['python']}, {where['when'][:10]}"
    canvas.text(16, height - 18, note, 11, FAINT, "lm")
    canvas.image.save(path, optimize=True)


def _bar(canvas: _Canvas, y: float, row: dict[str, Any], scale: float) -> None:
    added, middle = row["added"], y + BAR / 2
    canvas.text(LEFT - 10, middle, BY_NAME[row["kit"]].title, 13, TEXT, "rm")
    colour = OURS if row["kit"] == "ours" else OTHERS
    canvas.box(LEFT, y, max(1.0, added["median"] * scale), BAR, colour)
    low, high = LEFT + added["low"] * scale, LEFT + added["high"] * scale
    canvas.box(low, middle - 0.5, high - low, 1, LINE)
    end = max(high, LEFT + added["median"] * scale)
    label = f"{added['median']:.0f}"
    if row["ratio"] and row["kit"] != "contrib":
        label += f"   {row['ratio']['median']:.2f} of contrib"
    canvas.text(end + 8, middle, label, 12, TEXT, "lm")
