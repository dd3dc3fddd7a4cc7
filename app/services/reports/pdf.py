"""Draws a report; the same content gives the same bytes.

This module loads reportlab: import it only where a report is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any

from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    KeepTogether,
    LongTable,
    SimpleDocTemplate,
    Spacer,
    TableStyle,
)

from app.services.reports import charts, lettering
from app.services.reports.content import Column, Document, Section, Table
from app.services.reports.lettering import BOLD, FONT, wrapped

MARGIN = 18 * mm
EDGE = MARGIN + 6  # points, that platypus leaves around what it places
WIDTH = A4[0] - 2 * EDGE
PADDING = 4  # points, left and right of a cell's text

SMALL, NORMAL, HEADING, TITLE = 7.5, 9, 12, 20

INK, SOFT, LINE, ZEBRA = map(HexColor, ("#1f2937", "#6b7280", "#d1d5db", "#f3f4f6"))


def drawn(document: Document, shown: Callable[[float], None]) -> bytes:
    """The document as a PDF; `shown` is called with the share that is drawn."""
    lettering.load_fonts()
    story = list(_story(document))
    out = BytesIO()
    template = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=document.title,
        author="Followthrough",
        # No time of making, and no random id.
        invariant=1,
    )
    template.setProgressCallBack(_progress(len(story), shown))
    template.build(story, canvasmaker=_numbered(document))
    return out.getvalue()


def _progress(total: int, shown: Callable[[float], None]) -> Callable[[str, int], None]:
    most = 0

    def told(kind: str, value: int) -> None:
        nonlocal most
        # What is parted at the end of a page is counted again.
        if kind == "PROGRESS" and value > most:
            most = value
            shown(min(most / total, 1))

    return told


def _numbered(document: Document) -> type[Canvas]:
    """A canvas that writes at the foot of each page which it is, and of how many."""
    name = ", ".join([document.title, *(value for _, value in document.facts[:1])])

    class Numbered(Canvas):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._kept: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802  reportlab's name
            # Held back until their number is known.
            self._kept.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for page, state in enumerate(self._kept, 1):
                self.__dict__.update(state)
                self._foot(f"Page {page} of {len(self._kept)}")
                super().showPage()
            super().save()

        def _foot(self, text: str) -> None:
            self.setFont(FONT, SMALL)
            self.setFillColor(SOFT)
            self.drawString(EDGE, MARGIN / 2, name)
            self.drawRightString(A4[0] - EDGE, MARGIN / 2, text)

    return Numbered


def _story(document: Document) -> Iterator[Flowable]:
    yield Line(document.title, BOLD, TITLE)
    yield Spacer(0, 2 * mm)
    for name, value in document.facts:
        yield Line(f"{name}: {value}", FONT, NORMAL, SOFT)
    for section in document.sections:
        yield Spacer(0, 7 * mm)
        heads = [Line(section.title, BOLD, HEADING + 2), Spacer(0, 2 * mm)]
        yield from _section(section, heads if len(document.sections) > 1 else [])


def _section(section: Section, heads: list[Flowable]) -> Iterator[Flowable]:
    if section.chart is None:
        yield KeepTogether([*heads, Line("Nothing in this period.", FONT, NORMAL)])
        yield from _titled(section.listing)
        return
    yield KeepTogether([*heads, *_titled(section.totals)])
    yield Spacer(0, 5 * mm)
    chart = charts.drawn(section.chart, WIDTH)
    yield KeepTogether([Line(section.chart.title, BOLD, HEADING), chart])
    yield from _titled(section.listing)


def _left_out(table: Table) -> str:
    shown, more = f"{len(table.rows):,}", f"{table.left_out:,}"
    return f"The first {shown} rows of {table.total:,}; {more} are left out. Totals are of all."


class Line(Flowable):
    """One line of text, cut where the page ends."""

    def __init__(self, text: str, font: str, size: float, color: Any = INK) -> None:
        super().__init__()
        self.text, self.font, self.size, self.color = text, font, size, color

    def wrap(self, width: float, _height: float) -> tuple[float, float]:
        return width, self.size * 1.5

    def draw(self) -> None:
        self.canv.setFont(self.font, self.size)
        self.canv.setFillColor(self.color)
        self.canv.drawString(0, self.size * 0.4, wrapped(self.text, WIDTH, self.font, self.size, 1))


def _titled(table: Table) -> Iterator[Flowable]:
    yield Spacer(0, 3 * mm)
    yield Line(table.title, BOLD, HEADING)
    if table.left_out:
        yield Line(_left_out(table), FONT, SMALL, SOFT)
    yield Spacer(0, 1 * mm)
    yield _table(table)


def _table(table: Table) -> Flowable:
    shares = sum(column.share for column in table.columns)
    widths = [WIDTH * column.share / shares for column in table.columns]
    head = _cells([column.name for column in table.columns], widths, BOLD)
    body = [
        _cells(row, widths, BOLD if place in table.bold else FONT)
        for place, row in enumerate(table.rows)
    ]
    drawing = LongTable([head, *body], colWidths=widths, repeatRows=1, hAlign="LEFT")
    drawing.setStyle(TableStyle([*_style(table.columns), *_bold(table)]))
    return drawing


def _cells(row: Sequence[str], widths: Sequence[float], font: str) -> list[str]:
    pairs = zip(row, widths, strict=True)
    return [wrapped(text, width - 2 * PADDING, font, SMALL) for text, width in pairs]


def _style(columns: Sequence[Column]) -> Iterator[tuple[Any, ...]]:
    everything = (0, 0), (-1, -1)
    yield "FONT", *everything, FONT, SMALL, SMALL * 1.25
    yield "TEXTCOLOR", *everything, INK
    yield "VALIGN", *everything, "TOP"
    yield "LEFTPADDING", *everything, PADDING
    yield "RIGHTPADDING", *everything, PADDING
    yield "ROWBACKGROUNDS", (0, 1), (-1, -1), [white, ZEBRA]
    yield "LINEBELOW", *everything, 0.25, LINE
    yield "BACKGROUND", (0, 0), (-1, 0), INK
    yield "TEXTCOLOR", (0, 0), (-1, 0), white
    yield "FONT", (0, 0), (-1, 0), BOLD, SMALL, SMALL * 1.25
    for place, column in enumerate(columns):
        if column.right:
            yield "ALIGN", (place, 0), (place, -1), "RIGHT"


def _bold(table: Table) -> Iterator[tuple[Any, ...]]:
    for place in sorted(table.bold):
        yield "FONT", (0, place + 1), (-1, place + 1), BOLD, SMALL, SMALL * 1.25
