"""Tables that fit a terminal and show text as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH: Final = 160


def open_console() -> Console:
    """Return a console on stdout that takes no text for markup."""
    return Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def draw_table(
    console: Console, columns: Iterable[str], rows: Iterable[Iterable[object]], *, thousands: bool = True
) -> None:
    """Write rows under their columns: numbers to the right (``thousands`` apart unless told), nothing for None."""
    cells = [[_cell(value, "," if thousands else "") for value in row] for row in rows]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(columns):
        right = any(row[position].justify == "right" for row in cells)
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _cell(value: object, form: str) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Text(str(value))
    return Text(format(value, form), justify="right")
