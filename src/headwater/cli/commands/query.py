"""``headwater query``: call a SQL endpoint."""

from __future__ import annotations

import importlib
import io
import sys
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from headwater.cli.connect import connect
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table, open_console
from headwater.client import Client
from headwater.core.errors import HeadwaterError

_SHOWN_ROWS: Final = 1_000
_ARROW: Final = "application/vnd.apache.arrow.stream"


class OutputFormat(StrEnum):
    """What can be written; ``parquet`` is made here from Arrow."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    ARROW = "arrow"
    PARQUET = "parquet"


_MEDIA_TYPES: Final = {
    OutputFormat.CSV: "text/csv",
    OutputFormat.JSON: "application/json",
    OutputFormat.NDJSON: "application/x-ndjson",
    OutputFormat.ARROW: _ARROW,
    OutputFormat.PARQUET: _ARROW,
}
app = typer.Typer(add_completion=False)


@app.command()
def query(
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint")],
    parameters: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Its parameters")] = None,
    *,
    form: Annotated[
        OutputFormat | None, typer.Option("--format", help="A table in a terminal and CSV to a pipe unless set")
    ] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call a SQL endpoint and write its rows."""
    session = open_session(home, project, json=as_json)
    given = dict(map(_pair, parameters or ()))
    chosen = OutputFormat.JSON if as_json else form or (OutputFormat.TABLE if sys.stdout.isatty() else OutputFormat.CSV)
    with connect(session) as client:
        if chosen is OutputFormat.TABLE:
            _draw(client, endpoint, given)
            return
        body = client.query_bytes(endpoint, given, media_type=_MEDIA_TYPES[chosen])
    sys.stdout.buffer.write(_to_parquet(body) if chosen is OutputFormat.PARQUET else body)
    if chosen is OutputFormat.JSON and not body.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise HeadwaterError("invalid_parameter", f"{text!r} is not of the form name=value")
    return name, value


def _draw(client: Client, endpoint: str, parameters: dict[str, Any]) -> None:
    result = client.query(endpoint, parameters)
    console = open_console()
    if result.rows:
        shown = result.rows[:_SHOWN_ROWS]
        draw_table(console, shown[0], [row.values() for row in shown], thousands=False)
    console.print(f"{len(result.rows):,} rows")
    if len(result.rows) > _SHOWN_ROWS:
        console.print(f"The first {_SHOWN_ROWS:,} are shown; --format csv writes all of them.")


def _to_parquet(body: bytes) -> bytes:
    ipc, parquet = importlib.import_module("pyarrow.ipc"), importlib.import_module("pyarrow.parquet")
    sink = io.BytesIO()
    parquet.write_table(ipc.open_stream(body).read_all(), sink)
    return sink.getvalue()
