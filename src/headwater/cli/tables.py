"""Tables that fit a terminal and show text as it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH: Final = 160
#: What steers a terminal or turns the direction of text, rather than being shown.
_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


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
        table.add_column(Text(shown(name)), justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def shown(text: str) -> str:
    """Return text with what would steer the terminal spelt out: data must not act."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _cell(value: object, form: str) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Text(shown(str(value)))
    return Text(format(value, form), justify="right")
