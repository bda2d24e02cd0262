"""A dashboard, or a chart of it, as one SVG document: what the page shows, for the renderer to turn into pixels."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from headwater.control.console.boards.answers import TileAnswer
from headwater.control.console.boards.layout import MARGIN, WIDTH, Box, place_tiles
from headwater.control.console.boards.text import to_lines
from headwater.control.console.boards.theme import FONT, Theme
from headwater.control.monitoring.bins import printable
from headwater.control.monitoring.drawing import RENDERER
from headwater.core.dashboards import Board, ChartTile, DataTile, NumberTile, TableTile, TextTile, Tile
from headwater.core.dashboards.numbers import ABSENT, as_number, format_number
from headwater.engines.charts.renderer import ChartFailed
from headwater.engines.charts.svg import embed

HEAD: Final = 40
_PAD: Final = 16
_LINE: Final = 20
_WIDEST: Final = 34
_LETTER: Final = 6.6
"""How wide a letter of 13 pixels is on the average; what is too long is cut, not squeezed."""
CHART_SIZE: Final = (960, 480)


def chart_spec(answer: TileAnswer, theme: Theme, width: float, height: float) -> dict[str, Any]:
    """Return the Vega-Lite specification of a chart with its data, at a size in pixels."""
    names = [name for name, _, _ in answer.columns]
    values = [dict(zip(names, row, strict=True)) for row in answer.rows]
    return {
        **(answer.view or {}), "data": {"values": values}, "width": int(width), "height": int(height),
        "autosize": {"type": "fit", "contains": "padding"}, "config": theme.chart_config(),
    }  # fmt: skip


def draw_chart(answer: TileAnswer, title: str, theme: Theme) -> str:
    """Return one chart as an SVG document on the theme's ground.

    Raises:
        ChartFailed: it cannot be drawn; says why.
    """
    width, height = CHART_SIZE
    (drawn,) = RENDERER.draw([chart_spec(answer, theme, width, height)])
    if isinstance(drawn, ChartFailed):
        raise drawn
    sheet = _Sheet(theme)
    sheet.text(title, MARGIN, MARGIN + 16, size=18, weight=600)
    sheet.parts.append(embed(drawn, label=title, name="chart", place=(MARGIN, MARGIN + 36, width)).markup)
    return sheet.document(width + 2 * MARGIN, MARGIN + 36 + height + MARGIN)


def draw_board(board: Board, answers: Mapping[str, TileAnswer], theme: Theme, subtitle: str) -> str:
    """Return a whole dashboard as an SVG document.

    Args:
        board: what to draw.
        answers: of the tiles with data, by name.
        theme: the colours.
        subtitle: a line below the title: what the filters are, and when this was.
    """
    sheet = _Sheet(theme)
    sheet.text(board.title, MARGIN, MARGIN + 20, size=22, weight=600)
    sheet.text(_cut(subtitle, WIDTH - 2 * MARGIN), MARGIN, MARGIN + 44, colour=theme.muted)
    boxes, end = place_tiles(board.tiles, MARGIN + 64)
    drawings = _drawings(board.tiles, boxes, answers, theme)
    for tile, box in zip(board.tiles, boxes, strict=True):
        _tile(sheet, tile, box, answers.get(tile.name), drawings.get(tile.name))
    return sheet.document(WIDTH, end + MARGIN)


@dataclass(slots=True)
class _Sheet:
    """Parts of a drawing in the order in which they lie on each other."""

    theme: Theme
    parts: list[str] = field(default_factory=list)

    def text(
        self, text: str, x: float, y: float, *, size: float = 13, colour: str = "", weight: int = 400, end: bool = False
    ) -> None:
        """Write a line."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-family={quoteattr(FONT)} font-size="{size:g}" '
            f'fill="{colour or self.theme.text}" font-weight="{weight}" text-anchor="{"end" if end else "start"}">'
            f"{escape(printable(text))}</text>"
        )

    def document(self, width: float, height: float) -> str:
        """Return it as a document."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}"><rect width="{width:g}" height="{height:g}" '
            f'fill="{self.theme.ground}"/>{"".join(self.parts)}</svg>'
        )


def _drawings(
    tiles: Sequence[Tile], boxes: Sequence[Box], answers: Mapping[str, TileAnswer], theme: Theme
) -> dict[str, str | ChartFailed]:
    wanted = {
        tile.name: chart_spec(answers[tile.name], theme, width - 2 * _PAD, height - HEAD - _PAD)
        for tile, (_, _, width, height) in zip(tiles, boxes, strict=True)
        if isinstance(tile, ChartTile) and answers[tile.name].state == "ok" and answers[tile.name].rows
    }
    return dict(zip(wanted, RENDERER.draw(list(wanted.values())), strict=True)) if wanted else {}


def _tile(sheet: _Sheet, tile: Tile, box: Box, answer: TileAnswer | None, drawing: str | ChartFailed | None) -> None:
    x, y, width, height = box
    theme = sheet.theme
    sheet.parts.append(
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10" fill="{theme.surface}" '
        f'stroke="{theme.line}"/>'
    )
    if tile.title or isinstance(tile, DataTile):
        sheet.text(_cut(tile.title or tile.name, width - 2 * _PAD), x + _PAD, y + 26, weight=600)
    if isinstance(tile, TextTile):
        _words(sheet, tile, box)
    elif answer is None or answer.state != "ok":
        _say(sheet, box, answer.problem if answer else "", answer.hint if answer else "")
    elif isinstance(tile, NumberTile):
        _number(sheet, tile, answer, box)
    elif not answer.rows:
        _say(sheet, box, "No rows.", answer.notes[0] if answer.notes else "Nothing matches the filters.")
    elif isinstance(tile, TableTile):
        _table(sheet, tile, answer, box)
    elif isinstance(drawing, str):
        place = (x + _PAD, y + HEAD, width - 2 * _PAD)
        try:
            sheet.parts.append(embed(drawing, label=tile.title or tile.name, name=f"c-{tile.name}", place=place).markup)
        except ChartFailed as error:
            _say(sheet, box, "The chart cannot be drawn.", str(error))
    else:
        _say(sheet, box, "The chart cannot be drawn.", str(drawing or ""))


def _say(sheet: _Sheet, box: Box, problem: str, hint: str) -> None:
    x, y, width, _ = box
    sheet.text(_cut(problem, width - 2 * _PAD), x + _PAD, y + HEAD + 16, weight=600)
    for at, line in enumerate(_wrapped(hint, width - 2 * _PAD)[:3]):
        sheet.text(line, x + _PAD, y + HEAD + 16 + (at + 1) * _LINE, colour=sheet.theme.muted)


def _words(sheet: _Sheet, tile: TextTile, box: Box) -> None:
    x, y, width, height = box
    top = y + (HEAD if tile.title else 10) + 14
    for text, is_heading in to_lines(tile.text):
        for line in _wrapped(text, (width - 2 * _PAD) * (0.85 if is_heading else 1)):
            if top > y + height - 8:
                return
            sheet.text(line, x + _PAD, top, size=16 if is_heading else 13, weight=600 if is_heading else 400)
            top += _LINE
        top += 4


def _number(sheet: _Sheet, tile: NumberTile, answer: TileAnswer, box: Box) -> None:
    x, y, width, height = box
    names = [name for name, _, _ in answer.columns]
    at = names.index(tile.value) if tile.value in names else -1
    row = answer.rows[-1 if tile.row == "last" else 0] if answer.rows else None
    value = row[at] if row is not None and at >= 0 else None
    form = tile.formats.get(tile.value, "")
    shown = format_number(value, form) if value is not None else ABSENT
    sheet.text(f"{shown} {tile.unit}".strip(), x + _PAD, y + HEAD + 30, size=30, weight=600)
    other = tile.compare
    if isinstance(other, str):
        other = as_number(row[names.index(other)]) if row is not None and other in names else None
    number = as_number(value)
    if other is not None and number is not None:
        _comparison(sheet, tile, (number, float(other)), form, (x + _PAD, y + HEAD + 52))
    if tile.sparkline and at >= 0:
        points = [number for line in answer.rows if (number := as_number(line[at])) is not None]
        _trend(sheet, points, (x + _PAD, y + HEAD + 62, width - 2 * _PAD, max(height - HEAD - 62 - 10, 12)))


def _comparison(
    sheet: _Sheet, tile: NumberTile, numbers: tuple[float, float], form: str, place: tuple[float, float]
) -> None:
    number, other = numbers
    said = f"{format_number(abs(number - other) / abs(other), '.1%')} " if other else ""
    sign = "▲" if number > other else "▼" if number < other else "="
    colour = sheet.theme.muted
    if tile.better != "neither" and number != other:
        colour = sheet.theme.good if (tile.better == "higher") == (number > other) else sheet.theme.bad
    against = tile.compare_label or f"{format_number(other, form)} before"
    sheet.text(f"{sign} {said}vs {against}", *place, size=12, colour=colour)


def _trend(sheet: _Sheet, points: list[float], box: Box) -> None:
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return
    x, y, width, height = box
    low, spread = min(points), (max(points) - min(points)) or 1
    step = width / (len(points) - 1)
    line = " ".join(
        f"{x + at * step:.1f},{y + height - (value - low) / spread * height:.1f}" for at, value in enumerate(points)
    )
    colour = sheet.theme.categories[0]
    sheet.parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.75"/>')


def _table(sheet: _Sheet, tile: TableTile, answer: TileAnswer, box: Box) -> None:
    x, y, width, height = box
    room = int((height - HEAD - 30) // _LINE)
    texts = [_column(tile, answer, at, room) for at in range(len(answer.columns))]
    # As wide as what is in them, so that names are not cut beside numbers with room to spare.
    letters = [min(max(map(len, column)), _WIDEST) + 2 for column in texts]
    left = x + _PAD
    for (_, _, kind), column, share in zip(answer.columns, texts, letters, strict=True):
        step = (width - 2 * _PAD) * share / sum(letters)
        is_number = kind == "quantitative"
        for line, text in enumerate(column):
            place = (left + step - 8 if is_number else left, y + HEAD + 14 + line * _LINE)
            colour = sheet.theme.muted if line == 0 else ""
            sheet.text(_cut(text, step), *place, size=12 if line else 11, colour=colour, end=is_number)
        left += step


def _column(tile: TableTile, answer: TileAnswer, at: int, room: int) -> list[str]:
    """Return a column of a table as text, its title first."""
    name, type_, kind = answer.columns[at]
    shown = [tile.titles.get(name, name.replace("_", " "))]
    for row in answer.rows[:room]:
        text = ABSENT if row[at] is None else str(row[at])
        if kind == "quantitative":
            text = format_number(row[at], tile.formats.get(name, ""))
        elif kind == "temporal":
            text = text[:10] if type_.upper() == "DATE" else text[:16].replace("T", " ")
        shown.append(text)
    return shown


def _cut(text: str, width: float) -> str:
    most = max(int(width / _LETTER), 4)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, max(int(width / _LETTER), 10))
