"""Where tiles come to lie: the grid of the page, worked out for images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headwater.core.dashboards import Tile
from headwater.core.dashboards.spec import COLUMNS

WIDTH: Final = 1_280
MARGIN: Final = 28
GAP: Final = 16
ROW: Final = 68
_COLUMN: Final = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""


def place_tiles(tiles: Sequence[Tile], top: float) -> tuple[list[Box], float]:
    """Return where each tile lies below ``top``, as a browser's grid would flow them, and where the last one ends."""
    taken: set[tuple[int, int]] = set()
    boxes: list[Box] = []
    row = column = 0
    for tile in tiles:
        cells: set[tuple[int, int]] = set()
        while not cells:
            wanted = {(row + down, column + right) for down in range(tile.height) for right in range(tile.width)}
            if column + tile.width <= COLUMNS and not wanted & taken:
                cells = wanted
                continue
            row, column = (row, column + 1) if column + 1 <= COLUMNS - tile.width else (row + 1, 0)
        taken |= cells
        boxes.append(box_of(row, column, tile.width, tile.height, top))
        column += tile.width
    end = max((y + height for _, y, _, height in boxes), default=top)
    return boxes, end


def box_of(row: int, column: int, width: int, height: int, top: float) -> Box:
    """Return a place on the grid in pixels."""
    return (
        MARGIN + column * (_COLUMN + GAP),
        top + row * (ROW + GAP),
        width * _COLUMN + (width - 1) * GAP,
        height * ROW + (height - 1) * GAP,
    )
