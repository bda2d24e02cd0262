"""Dashboards as data: what a board shows, how its filters become parameters, and what a chart may hold. No I/O."""

from __future__ import annotations

from headwater.core.dashboards.reading import parse_board, to_plain
from headwater.core.dashboards.spec import (
    NAME_PATTERN,
    Board,
    ChartTile,
    DataTile,
    Filter,
    FilterRef,
    NumberTile,
    Plot,
    TableTile,
    TextTile,
    Tile,
)

__all__ = [
    "NAME_PATTERN",
    "Board",
    "ChartTile",
    "DataTile",
    "Filter",
    "FilterRef",
    "NumberTile",
    "Plot",
    "TableTile",
    "TextTile",
    "Tile",
    "parse_board",
    "to_plain",
]
