"""A plot in short becomes a Vega-Lite view: types, scales, titles and tooltips follow from the columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from headwater.core.dashboards.spec import ChartTile, Plot

SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
Kind = Literal["quantitative", "temporal", "nominal"]
_NUMBERS: Final = (
    "TINY", "SMALL", "BIG", "HUGE", "INT", "UINT", "UTINY", "USMALL", "UBIG", "UHUGE", "FLOAT", "DOUBLE", "DECIMAL",
    "NUMBER", "REAL",
)  # fmt: skip
_TIMES: Final = ("DATE", "TIMESTAMP", "DATETIME")
_MARKS: Final[Mapping[str, dict[str, Any]]] = {
    "line": {"type": "line", "strokeWidth": 2, "interpolate": "monotone"},
    "area": {"type": "area", "line": True, "fillOpacity": 0.35, "interpolate": "monotone"},
    "bar": {"type": "bar", "cornerRadiusEnd": 2},
    "point": {"type": "point", "filled": True, "fillOpacity": 0.7, "size": 40},
    "heatmap": {"type": "rect"},
}


def kind_of(type_: str) -> Kind:
    """Return how a column of an answer is drawn, by its type in DuckDB's words or in ours."""
    upper = type_.upper()
    if upper.endswith("]") or upper.startswith("INTERVAL"):
        return "nominal"
    if upper.startswith(_NUMBERS):
        return "quantitative"
    return "temporal" if upper.startswith(_TIMES) else "nominal"


def view_of(tile: ChartTile, columns: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the Vega-Lite view of a chart, without data, over columns given as name and type."""
    if tile.vega is not None:
        return {"$schema": SCHEMA, **tile.vega}
    if tile.plot is None:
        raise ValueError(f"chart {tile.name} has neither a plot nor a view")
    return _Drawing(tile.plot, dict(columns), tile.titles, tile.formats).view()


class _Drawing:
    """One plot over known columns."""

    def __init__(
        self, plot: Plot, types: Mapping[str, str], titles: Mapping[str, str], formats: Mapping[str, str]
    ) -> None:
        self.plot = plot
        self.types = types
        self.titles = titles
        self.formats = formats

    def view(self) -> dict[str, Any]:
        """Return the whole view."""
        plot = self.plot
        encoding = {"x": self._axis("x", plot.x), "y": self._axis("y", plot.y)}
        if plot.colour:
            encoding["color"] = self._colour(plot.colour)
        if plot.size:
            encoding["size"] = self._channel(plot.size, self._kind(plot.size))
        encoding["tooltip"] = [  # type: ignore[assignment]
            self._channel(column, self._kind(column)) for column in dict.fromkeys(c for _, c in plot.columns())
        ]
        return {"$schema": SCHEMA, "mark": self._mark(), "encoding": encoding}

    def _mark(self) -> dict[str, Any]:
        mark = dict(_MARKS[self.plot.mark])
        if self.plot.mark == "area" and self.plot.colour and self.plot.stack != "none":
            mark |= {"line": False, "fillOpacity": 0.85}
        return mark

    def _kind(self, column: str) -> Kind:
        return kind_of(self.types.get(column, ""))

    def _axis(self, channel: str, column: str) -> dict[str, Any]:
        plot, kind = self.plot, self._kind(column)
        found = self._channel(column, kind)
        if self._is_discrete(channel, kind):
            # Days and hours in their order, names in the order in which the SQL sorted them.
            found["type"] = "ordinal"
            found["sort"] = self._sort(channel)
            found["axis"] = {"labelLimit": 160, "labelOverlap": True}
            if channel == "x" and kind != "nominal":
                found["axis"]["labelAngle"] = 0
            return found
        if kind == "quantitative":
            zero = plot.zero if plot.zero is not None else plot.mark in ("bar", "area")
            found["scale"] = {"zero": zero}
            if plot.mark in ("bar", "area") and plot.colour:
                found["stack"] = {"stacked": "zero", "share": "normalize", "none": None}[plot.stack]
        if channel == "x":
            found["axis"] = {"grid": False, "labelOverlap": True}
        return found

    def _is_discrete(self, channel: str, kind: Kind) -> bool:
        if self.plot.mark == "heatmap" or kind == "nominal":
            return True
        if self.plot.mark != "bar":
            return False
        other = self.plot.y if channel == "x" else self.plot.x
        # A bar stands on something and is as long as something else is: of two numbers it stands on x.
        return self._kind(other) == "quantitative" and (kind == "temporal" or channel == "x")

    def _sort(self, channel: str) -> Any:
        wanted = self.plot.sort
        if wanted == "data":
            column = self.plot.x if channel == "x" else self.plot.y
            return None if self._kind(column) == "nominal" else "ascending"
        descending = wanted.startswith("-")
        by = wanted.lstrip("-")
        if by == channel:
            return "descending" if descending else "ascending"
        return f"{'-' if descending else ''}{by}"

    def _colour(self, column: str) -> dict[str, Any]:
        kind = self._kind(column)
        found = self._channel(column, kind)
        if kind == "nominal":
            found["sort"] = None
            found["legend"] = {"orient": "top", "direction": "horizontal", "columns": 4}
        elif self.plot.mark == "heatmap":
            found["legend"] = {"orient": "top", "direction": "horizontal", "gradientLength": 160}
        return found

    def _channel(self, column: str, kind: Kind) -> dict[str, Any]:
        title = self.titles.get(column, column.replace("_", " "))
        found: dict[str, Any] = {"field": _escaped(column), "type": kind, "title": title}
        if kind == "quantitative" and self.formats.get(column):
            found["format"] = self.formats[column]
        return found


def _escaped(column: str) -> str:
    """Return a column's name as Vega-Lite reads fields: dots and brackets would lead into objects."""
    for letter in ("\\", ".", "[", "]"):
        column = column.replace(letter, f"\\{letter}")
    return column
