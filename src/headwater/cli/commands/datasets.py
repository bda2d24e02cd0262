"""``headwater datasets``: what there is, with counts."""

from __future__ import annotations

import typer
from rich.console import Console

from headwater.cli.connect import connect
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table

_COUNTS = ("received", "accepted", "duplicate", "stale", "quarantined", "rejected")
app = typer.Typer(add_completion=False)


@app.command()
def datasets(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the datasets with what became of every row they were sent."""
    session = open_session(home, project, json=as_json)
    with connect(session) as client:
        document = client.datasets()

    def draw(console: Console) -> None:
        columns = ("dataset", "rows", *_COUNTS, "unsealed")
        rows = [
            (one["name"], one.get("rows"), *map(one.get("counts", {}).get, _COUNTS), one.get("unsealed_rows"))
            for one in document["datasets"]
        ]
        draw_table(console, columns, rows)

    session.answer(document, draw)
