"""What a dashboard is made of: filters, and tiles in the order in which they flow over a grid of twelve columns.

.. code-block:: yaml

    title: Departures from New York
    refresh_seconds: 300
    filters:
      - {name: origin, label: Airport, type: string, values: [EWR, JFK, LGA]}
      - {name: period, label: Period, type: time_range, default: last 30 days}
    tiles:
      - name: flights
        kind: number
        endpoint: punctuality
        parameters: {origin: {filter: origin}, first: {filter: period.from}, last: {filter: period.to}}
        value: flights
        width: 3
        height: 2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
)

from headwater.core.dashboards.times import parse_range
from headwater.core.dashboards.vega import check_view

NAME_PATTERN: Final = r"^[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*$"
ENDPOINT_PATTERN: Final = r"^[a-z][a-z0-9_]{0,62}(?:@[1-9][0-9]{0,5})?$"
FORMAT_PATTERN: Final = r"^,?(?:\.[0-9])?[fd%s]?$"
"""A part of d3's: thousands apart, digits after the point, and fixed, whole, per cent or short (12k)."""
COLUMNS: Final = 12
MAX_TILES: Final = 60
MAX_FILTERS: Final = 20
MAX_NAME: Final = 63
RESERVED: Final = frozenset({"new", "preview"})
"""What stands where a name would in the console's addresses."""
Scalar = StrictStr | StrictBool | StrictInt | StrictFloat
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME)]
Column = Annotated[str, Field(min_length=1, max_length=200)]
Format = Annotated[str, Field(pattern=FORMAT_PATTERN, max_length=6)]
FilterType = Literal["string", "integer", "number", "boolean", "date", "time_range"]
Mark = Literal["line", "area", "bar", "point", "heatmap"]


class Part(BaseModel):
    """A piece of a dashboard; a member that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FilterRef(Part):
    """The value of a filter, or one end of a time range: ``period.from``, ``period.to``."""

    filter: str = Field(min_length=1, max_length=MAX_NAME + 5)

    @property
    def name(self) -> str:
        """Return the filter's name."""
        return self.filter.partition(".")[0]

    @property
    def part(self) -> str:
        """Return which end of a time range is meant; empty for a plain filter."""
        return self.filter.partition(".")[2]


class Filter(Part):
    """What its reader may choose. A time range is text: ``last 7 days``, ``2013-01-01/2013-03-31``.

    Without a default nothing is chosen, and the parameters that follow it are left out.
    """

    name: Name
    type: FilterType = "string"
    label: str = Field("", max_length=100)
    values: tuple[Scalar, ...] = Field((), max_length=200)
    default: Scalar | None = None

    @field_validator("default")
    @classmethod
    def _sound_default(cls, value: Any, info: Any) -> Any:
        if value is not None and info.data.get("type") == "time_range":
            parse_range(str(value))
        return value

    @field_validator("values")
    @classmethod
    def _sound_values(cls, values: tuple[Any, ...], info: Any) -> tuple[Any, ...]:
        if info.data.get("type") == "time_range":
            for value in values:
                parse_range(str(value))
        return values

    @property
    def title(self) -> str:
        """Return what it is called on the page."""
        return self.label or self.name.replace("_", " ").replace("-", " ").capitalize()


class Placed(Part):
    """What every tile has: a name of its own, a title, and its size on a grid of twelve columns."""

    name: Name
    title: str = Field("", max_length=200)
    description: str = Field("", max_length=500)
    width: int = Field(6, ge=1, le=COLUMNS)
    height: int = Field(4, ge=1, le=12)


def _bound(value: Any) -> Any:
    """Say once what a parameter may be: of five types that are tried each would complain."""
    parts = value if isinstance(value, list | tuple) else [value]
    is_reference = isinstance(value, Mapping) and set(value) == {"filter"} and isinstance(value["filter"], str)
    if isinstance(value, FilterRef) or is_reference or all(isinstance(part, str | int | float) for part in parts):
        return value
    raise ValueError("write a value, a list of values, or {filter: name}")


Bound = Annotated[FilterRef | Scalar | tuple[Scalar, ...], BeforeValidator(_bound)]


class TextTile(Placed):
    """Words, in a safe part of Markdown."""

    kind: Literal["text"] = "text"
    text: str = Field(max_length=10_000)


class DataTile(Placed):
    """What shows the answer of an endpoint: ``daily``, or ``daily@2`` for that version of it."""

    endpoint: str = Field(pattern=ENDPOINT_PATTERN)
    parameters: dict[str, Bound] = Field({}, max_length=50)
    live: bool = False
    titles: dict[str, Annotated[str, Field(max_length=100)]] = Field({}, max_length=100)
    formats: dict[str, Format] = Field({}, max_length=100)

    @property
    def endpoint_name(self) -> str:
        """Return the endpoint's name without the version."""
        return self.endpoint.partition("@")[0]

    def references(self) -> Iterator[tuple[str, FilterRef]]:
        """Yield the parameters that follow a filter, each with which."""
        for name, value in self.parameters.items():
            if isinstance(value, FilterRef):
                yield name, value

    def shown_columns(self) -> Iterator[tuple[str, str]]:
        """Yield the columns that it shows, each with the path of the member that names it."""
        yield from ((f"titles.{name}", name) for name in self.titles)
        yield from ((f"formats.{name}", name) for name in self.formats)


class TableTile(DataTile):
    """The rows themselves. No ``columns``: all of them."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...] = Field((), max_length=100)
    rows: int = Field(100, ge=1, le=1_000)

    def shown_columns(self) -> Iterator[tuple[str, str]]:
        """Yield the columns that it shows."""
        yield from super().shown_columns()
        yield from ((f"columns[{at}]", name) for at, name in enumerate(self.columns))


class NumberTile(DataTile):
    """One value large, of the first row or the last; what it is compared with; and a line of all rows' values."""

    kind: Literal["number"] = "number"
    value: Column
    row: Literal["first", "last"] = "first"
    compare: Column | StrictInt | StrictFloat | None = None
    compare_label: str = Field("", max_length=60)
    better: Literal["higher", "lower", "neither"] = "neither"
    sparkline: bool = False
    unit: str = Field("", max_length=20)

    def shown_columns(self) -> Iterator[tuple[str, str]]:
        """Yield the columns that it shows."""
        yield from super().shown_columns()
        yield "value", self.value
        if isinstance(self.compare, str):
            yield "compare", self.compare


class Plot(Part):
    """A chart in short: a mark, and which column goes where. Types, scales and tooltips follow from the columns."""

    mark: Mark
    x: Column
    y: Column
    colour: Column | None = None
    size: Column | None = None
    stack: Literal["stacked", "share", "none"] = "stacked"
    sort: Literal["data", "x", "-x", "y", "-y"] = "data"
    zero: bool | None = None

    def columns(self) -> Iterator[tuple[str, str]]:
        """Yield the members that name a column, with the column."""
        for member in ("x", "y", "colour", "size"):
            column = getattr(self, member)
            if column is not None:
                yield member, column


class ChartTile(DataTile):
    """A chart: ``plot`` says it in short; ``vega`` is a Vega-Lite view for what that cannot say. One of the two."""

    kind: Literal["chart"] = "chart"
    plot: Plot | None = None
    vega: dict[str, Any] | None = None

    @field_validator("vega")
    @classmethod
    def _harmless(cls, view: dict[str, Any] | None) -> dict[str, Any] | None:
        if view is not None:
            check_view(view)
        return view

    def shown_columns(self) -> Iterator[tuple[str, str]]:
        """Yield the columns that its plot shows."""
        yield from super().shown_columns()
        if self.plot is not None:
            yield from ((f"plot.{member}", column) for member, column in self.plot.columns())


Tile = Annotated[ChartTile | TableTile | NumberTile | TextTile, Field(discriminator="kind")]


class Board(Part):
    """A whole dashboard. ``refresh_seconds`` is how often an open page asks again; None: when asked to."""

    title: str = Field(min_length=1, max_length=200)
    description: str = Field("", max_length=1_000)
    refresh_seconds: int | None = Field(None, ge=5, le=86_400)
    filters: tuple[Filter, ...] = Field((), max_length=MAX_FILTERS)
    tiles: tuple[Tile, ...] = Field((), max_length=MAX_TILES)

    def tile(self, name: str) -> Tile | None:
        """Return the tile of that name."""
        return next((tile for tile in self.tiles if tile.name == name), None)
