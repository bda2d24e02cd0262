"""A report as one image: an SVG document of its figures, tables and charts, for the renderer to turn into pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from headwater.control.monitoring.bins import printable
from headwater.control.monitoring.drawing import Drawing
from headwater.control.monitoring.page import SideBlock, decimal, share
from headwater.control.monitoring.palette import BAD, CURRENT, GRID, MUTED, TEXT
from headwater.control.monitoring.queries import ReportView
from headwater.engines.charts.svg import embed

WIDTH: Final = 1_040
_MARGIN: Final = 32
_COLUMN: Final = (WIDTH - 3 * _MARGIN) // 2
_FONT: Final = "Inter, Roboto, 'DejaVu Sans', sans-serif"
_TABLE: Final = (
    ("Field", 0),
    ("State", 300),
    ("PSI", 440),
    ("KS", 520),
    ("JS", 600),
    ("p", 690),
    ("Null", 780),
    ("Out of range", 900),
    ("Rows", 976),
)
_LEFT: Final = 2
"""How many columns of a table of fields stand left; numbers end at their place."""
_SHOWN: Final = 40


@dataclass(slots=True)
class _Sheet:
    """Parts from top to bottom; ``y`` is where the next one begins."""

    parts: list[str] = field(default_factory=list)
    y: float = 0.0

    def text(
        self, text: str, x: float, *, size: float = 13, colour: str = TEXT, weight: int = 400, anchor: str = "start"
    ) -> None:
        """Write a line at ``y``."""
        shown = escape(printable(text))
        self.parts.append(
            f'<text x="{x:g}" y="{self.y:g}" font-family={quoteattr(_FONT)} font-size="{size:g}" fill="{colour}" '
            f'font-weight="{weight}" text-anchor="{anchor}">{shown}</text>'
        )

    def line(self) -> None:
        """Draw a rule over the whole width."""
        self.parts.append(
            f'<rect x="{_MARGIN}" y="{self.y:g}" width="{WIDTH - 2 * _MARGIN}" height="1" fill="{GRID}"/>'
        )


def poster(context: Mapping[str, Any]) -> str:
    """Return the report that ``page.report_context`` describes as an SVG document."""
    view: ReportView = context["view"]
    sheet = _Sheet()
    _head(sheet, view)
    _tiles(sheet, context["tiles"])
    drawings: Mapping[str, Drawing] = context["drawings"]
    named = [
        (title, drawings[name]) for name, title in (("traffic", "Requests"), ("latency", "Latency")) if name in drawings
    ]
    _section(sheet, "Traffic", named)
    for block in context["blocks"]:
        _fields(sheet, block)
        _charts(sheet, [(line.field.name, line.drawing) for line in block.drawn if line.drawing is not None])
    named = [
        (title, drawings[name])
        for name, title in (("drift", "PSI by hour"), ("calibration", "Calibration"))
        if name in drawings
    ]
    _section(sheet, "Drift and calibration", named)
    _performance(sheet, context)
    _shadow(sheet, view)
    height = int(sheet.y + _MARGIN)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>{"".join(sheet.parts)}</svg>'
    )


def _head(sheet: _Sheet, view: ReportView) -> None:
    sheet.y = _MARGIN + 18
    sheet.text(view.title, _MARGIN, size=22, weight=600)
    sheet.y += 24
    if view.report is None:
        sheet.text(f"No report: {view.problem}"[:150], _MARGIN, colour=MUTED)
    else:
        window = view.report.window
        sheet.text(f"{window.since:%Y-%m-%d %H:%M} to {window.until:%Y-%m-%d %H:%M} UTC", _MARGIN, colour=MUTED)
    for alert in view.alerts:
        sheet.y += 22
        text = f"Alert: {alert.subject} is {alert.value_text}, {alert.direction} {alert.threshold_text}"
        sheet.text(f"{text}, since {alert.since:%Y-%m-%d %H:%M} UTC", _MARGIN, colour=BAD, weight=600)
    sheet.y += 20


def _tiles(sheet: _Sheet, tiles: Iterable[tuple[str, str, str, bool]]) -> None:
    top = sheet.y
    for at, (name, value, remark, is_bad) in enumerate(tiles):
        x = _MARGIN + at * 195
        sheet.y = top + 18
        sheet.text(name, x, colour=MUTED, size=12)
        sheet.y = top + 46
        sheet.text(value, x, size=24, weight=600, colour=BAD if is_bad else TEXT)
        sheet.y = top + 64
        sheet.text(remark, x, colour=MUTED, size=11)
    sheet.y = top + 84


def _section(sheet: _Sheet, title: str, drawings: list[tuple[str, Drawing]]) -> None:
    if drawings:
        _title(sheet, title)
        _charts(sheet, drawings)


def _title(sheet: _Sheet, title: str) -> None:
    sheet.line()
    sheet.y += 28
    sheet.text(title, _MARGIN, size=15, weight=600, colour=CURRENT)
    sheet.y += 14


def _fields(sheet: _Sheet, block: SideBlock) -> None:
    if not block.lines:
        return
    _title(sheet, block.title)
    sheet.y += 10
    _cells(sheet, [name for name, _ in _TABLE], MUTED)
    for line in block.lines[:_SHOWN]:
        sheet.y += 20
        numbers = [number for _, number in line.numbers]
        cells = [line.field.name[:40], line.state, *numbers, line.nulls, line.out_of_range, f"{line.field.rows:,}"]
        _cells(sheet, cells, BAD if line.state == "drifted" else TEXT)
    sheet.y += 18


def _cells(sheet: _Sheet, cells: Iterable[str], colour: str) -> None:
    for at, ((_, x), cell) in enumerate(zip(_TABLE, cells, strict=True)):
        sheet.text(cell, _MARGIN + x, colour=colour, size=12, anchor="start" if at < _LEFT else "end")


def _charts(sheet: _Sheet, drawings: list[tuple[str, Drawing]]) -> None:
    """Draw charts in two columns; each is as high as its shape makes it at that width."""
    for at in range(0, len(drawings), 2):
        heights = [
            _chart(sheet, title, drawing, column) for column, (title, drawing) in enumerate(drawings[at : at + 2])
        ]
        sheet.y += max(heights) + 14


def _chart(sheet: _Sheet, title: str, drawing: Drawing, column: int) -> float:
    x, top = _MARGIN + column * (_COLUMN + _MARGIN), sheet.y
    sheet.y = top + 14
    sheet.text(title[:60], x, size=12, weight=600)
    if not drawing.document:
        sheet.y = top + 34
        sheet.text(f"not drawn: {drawing.problem}"[:70], x, size=11, colour=MUTED)
        sheet.y = top
        return 40.0
    sheet.y = top
    name = f"poster-{drawing.chart.name}"
    element = embed(drawing.document, label=drawing.chart.label, name=name, place=(x, top + 20, _COLUMN))
    sheet.parts.append(element.markup)
    return element.height + 20


def _performance(sheet: _Sheet, context: Mapping[str, Any]) -> None:
    quality = context["quality"]
    if quality is None or not quality["performance"].outcomes:
        return
    _title(sheet, f"Performance of {quality['performance'].output}, by {_outcomes(quality['performance'].outcomes)}")
    sheet.y += 10
    facts = [*(f"{name} {value}" for name, value in quality["metrics"]), f"outcomes after {quality['delay']}"]
    for at in range(0, len(facts), 5):
        for column, fact in enumerate(facts[at : at + 5]):
            sheet.text(fact, _MARGIN + column * 195, size=12)
        sheet.y += 20


def _outcomes(count: int) -> str:
    return f"{count:,} outcome{'s' * (count != 1)}"


def _shadow(sheet: _Sheet, view: ReportView) -> None:
    shadow = view.report.shadow if view.report is not None else None
    if shadow is None:
        return
    _title(sheet, f"Shadow, beside version {shadow.of_version}")
    sheet.y += 10
    facts = [f"{shadow.pairs:,} pair{'s' * (shadow.pairs != 1)}", f"agreement {share(shadow.agreement)}"]
    facts += [f"mean difference {decimal(shadow.mean_abs_diff)}", f"greatest {decimal(shadow.max_abs_diff)}"]
    for column, fact in enumerate(facts):
        sheet.text(fact, _MARGIN + column * 195, size=12)
    sheet.y += 20
