"""``headwater watch``: the rows of a SQL endpoint, again whenever they change."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Annotated, Final

import typer

from headwater.cli.connect import connect
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table, open_console
from headwater.client.live import Table
from headwater.core.errors import HeadwaterError

_CLEAR: Final = "\x1b[H\x1b[J"
_MARGIN: Final = 6
app = typer.Typer(add_completion=False)


@app.command()
def watch(
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint")],
    parameters: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Its parameters")] = None,
    *,
    updates: Annotated[int, typer.Option("--updates", min=0, help="End after so many; 0: never")] = 0,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch a SQL endpoint: a table that stays up to date in a terminal, a JSON document a line to a pipe."""
    session = open_session(home, project, json=as_json)
    given = dict(map(_pair, parameters or ()))
    is_drawn = sys.stdout.isatty() and not as_json
    with connect(session, patient=True) as client, contextlib.closing(client.live(endpoint, given)) as states:
        for number, table in enumerate(states, 1):
            if is_drawn:
                _draw(endpoint, table)
            else:
                sys.stdout.write(json.dumps({"meta": table.meta, "data": table.rows, "problem": table.problem}) + "\n")
                sys.stdout.flush()
            if number == updates:
                return


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise HeadwaterError("invalid_parameter", f"{text!r} is not of the form name=value")
    return name, value


def _draw(endpoint: str, table: Table) -> None:
    sys.stdout.write(_CLEAR)
    console = open_console()
    shown = table.rows[: max(1, console.height - _MARGIN)]
    if shown:
        draw_table(console, shown[0], [row.values() for row in shown], thousands=False)
    versions = ", ".join(f"{name} {version}" for name, version in table.meta.get("table_versions", {}).items())
    console.print(f"{endpoint}: {len(table.rows):,} rows of {versions}" if versions else f"{endpoint}: no table")
    if table.problem is not None:
        console.print(f"No newer result: {table.problem.get('detail')} ({table.problem.get('code')})")
