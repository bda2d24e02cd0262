"""Figures on the home page that other areas bring: register a function, return a tile or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headwater.control.console.place import Place


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure with a name, a remark and the page it leads to; ``alert`` when it wants attention."""

    title: str
    value: str
    remark: str = ""
    url: str = ""
    alert: bool = False
    line: tuple[float, ...] = ()


MakeTile = Callable[[Place], Tile | None]
_makers: Final[list[MakeTile]] = []


def tile(make: MakeTile) -> MakeTile:
    """Register a tile of the home page; ``make`` returns None for a reader who may not see it."""
    _makers.append(make)
    return make


def tiles_for(here: Place) -> list[Tile]:
    """Return what other areas show to the reader."""
    return [found for make in _makers if (found := make(here)) is not None]
