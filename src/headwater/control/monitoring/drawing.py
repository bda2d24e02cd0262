"""Charts of a report drawn: as elements for a page, and as documents that an image is composed of."""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.safestring import SafeString, mark_safe

from headwater.control.monitoring.charts import Chart
from headwater.control.monitoring.palette import PROPERTIES
from headwater.engines.charts.renderer import ChartFailed, ChartRenderer
from headwater.engines.charts.svg import embed

RENDERER: Final = ChartRenderer()
"""The one of this process; its own process starts with the first chart and ends when nobody looks any more."""
# One that draws at the end of this process is ended and waited for, not left behind.
atexit.register(RENDERER.close)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart as it came out: an element for HTML, and the document it was made from, or why there is none."""

    chart: Chart
    element: SafeString | None = None
    document: str = ""
    problem: str = ""


def draw(charts: Sequence[Chart]) -> dict[str, Drawing]:
    """Draw charts; one that fails says why in its place and keeps none of the others from being seen."""
    drawn = RENDERER.draw([chart.spec for chart in charts])
    return {chart.name: _drawing(chart, svg) for chart, svg in zip(charts, drawn, strict=True)}


def _drawing(chart: Chart, svg: str | ChartFailed) -> Drawing:
    if isinstance(svg, ChartFailed):
        return Drawing(chart, problem=str(svg))
    try:
        element = embed(svg, label=chart.label, name=f"chart-{chart.name}", colours=PROPERTIES)
    except ChartFailed as error:
        return Drawing(chart, problem=str(error))
    # Made of a list of harmless elements and attributes, with every text escaped.
    return Drawing(chart, mark_safe(element.markup), svg)  # noqa: S308
