"""``headwater datasets``: what there is, with counts."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from headwater.cli.connect import connect
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session

app = typer.Typer(add_completion=False)


@app.command()
def datasets(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the datasets with what became of every row they were sent."""
    session = open_session(home, project, json=as_json)
    with connect(session) as client:
        document = client.datasets()

    def draw(console: Console) -> None:
        table = Table("dataset")
        for name in ("rows", "received", "accepted", "duplicate", "quarantined", "rejected", "unsealed", "version"):
            table.add_column(name, justify="right")
        for one in document["datasets"]:
            counts = one.get("counts", {})
            table.add_row(
                str(one["name"]),
                _number(one.get("rows")),
                *(
                    _number(counts.get(name))
                    for name in ("received", "accepted", "duplicate", "quarantined", "rejected")
                ),
                _number(one.get("unsealed_rows")),
                _number(one.get("table_version")),
            )
        console.print(table)

    session.answer(document, draw)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
