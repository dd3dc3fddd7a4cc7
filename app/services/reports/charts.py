"""Draws a chart of stacked bars, with its axes, their names and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log10
from typing import Any

from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.charts.legends import Legend
from reportlab.graphics.shapes import Drawing, String
from reportlab.lib.colors import HexColor
from reportlab.lib.units import mm

from app.services.reports.content import Chart, Number
from app.services.reports.lettering import FONT

HEIGHT, LEFT, BOTTOM = 62 * mm, 16 * mm, 17 * mm
TICKS = 5
CROWDED = 24  # labels, which are then turned
SMALL, TINY = 7.5, 6.5

INK, SOFT, LINE = map(HexColor, ("#1f2937", "#6b7280", "#d1d5db"))
SERIES = [HexColor(code) for code in ("#2563eb", "#f59e0b", "#dc2626", "#9ca3af", "#059669")]
COLORS = {
    name: HexColor(code)
    for name, code in {
        "Completed": "#2563eb",
        "Delivered": "#2563eb",
        "Imported": "#2563eb",
        "Pending": "#9ca3af",
        "Declined": "#f59e0b",
        "Failed": "#dc2626",
        "Bad": "#dc2626",
    }.items()
}


def drawn(chart: Chart, width: float) -> Drawing:
    bars = _bars(chart, width)
    drawing = Drawing(width, HEIGHT)
    drawing.add(bars)
    drawing.add(_legend(chart, width))
    drawing.add(_text(chart.across, LEFT + bars.width / 2, 1 * mm, "middle"))
    drawing.add(_text(chart.up, 0, HEIGHT - 5 * mm, "start"))
    return drawing


def _bars(chart: Chart, width: float) -> Any:
    bars = VerticalBarChart()
    bars.x, bars.y = LEFT, BOTTOM
    bars.width, bars.height = width - LEFT - 2 * mm, HEIGHT - BOTTOM - 8 * mm
    bars.data = [[float(value) for value in values] for values in chart.series.values()]
    bars.barSpacing, bars.groupSpacing = 0, 3
    _paint(bars, list(chart.series))
    _axes(bars, chart)
    return bars


def _paint(bars: Any, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        bars.bars[place].fillColor = _color(name, place)
        bars.bars[place].strokeColor = None


def _color(name: str, place: int) -> Any:
    return COLORS.get(name, SERIES[place % len(SERIES)])


def _axes(bars: Any, chart: Chart) -> None:
    across, up = bars.categoryAxis, bars.valueAxis
    across.style = "stacked"
    across.categoryNames = list(chart.labels)
    highest = max(map(sum, zip(*chart.series.values(), strict=True)))
    up.valueMin, up.valueStep = 0, step(highest)
    up.valueMax = up.valueStep * ceil(float(highest) / up.valueStep)
    up.labelTextFormat = short
    up.visibleGrid, up.gridStrokeColor, up.gridStrokeWidth = 1, LINE, 0.25
    for axis in (across, up):
        axis.labels.fontName, axis.labels.fontSize, axis.labels.fillColor = FONT, TINY, INK
        axis.strokeColor, axis.strokeWidth = SOFT, 0.5
    if len(chart.labels) > CROWDED:
        across.labels.angle, across.labels.boxAnchor, across.labels.dx = 60, "e", 2
        across.labels.dy = -2


def step(highest: Number) -> float:
    """A round distance of the values on an axis; they are counted, so never less than one."""
    rough = max(float(highest) / TICKS, 1.0)
    power: float = 10.0 ** int(log10(rough))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= rough)


def short(value: float) -> str:
    """A value on an axis, as in 1.5M."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:,g}{letter}"
    return f"{value:,g}"


def _legend(chart: Chart, width: float) -> Legend:
    legend = Legend()
    legend.colorNamePairs = [(_color(name, place), name) for place, name in enumerate(chart.series)]
    legend.fontName, legend.fontSize, legend.fillColor = FONT, SMALL, INK
    legend.boxAnchor, legend.x, legend.y = "ne", width, HEIGHT
    legend.columnMaximum, legend.alignment = 1, "right"
    legend.dx = legend.dy = 6
    legend.deltax, legend.dxTextSpace, legend.strokeWidth = 60, 4, 0
    return legend


def _text(text: str, x: float, y: float, anchor: str) -> String:
    return String(x, y, text, fontName=FONT, fontSize=SMALL, fillColor=SOFT, textAnchor=anchor)
