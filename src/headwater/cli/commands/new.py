"""``headwater new``: a project directory to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import JsonOption
from headwater.cli.scaffold import Shape, write_project
from headwater.cli.session import open_session

app = typer.Typer(add_completion=False)


@app.command()
def new(
    directory: Annotated[Path, typer.Argument(metavar="NAME", help="The directory to make; its name is the project's")],
    *,
    shape: Annotated[
        Shape,
        typer.Option(
            help="api: datasets, SQL and FastAPI routes; platform: datasets, SQL and a Django app; hybrid: all of it"
        ),
    ] = Shape.HYBRID,
    as_json: JsonOption = False,
) -> None:
    """Make a project directory that runs as it is: `headwater up --project NAME`."""
    session = open_session(None, None, json=as_json)
    files = write_project(directory, shape)

    def draw(console: Console) -> None:
        for file in files:
            console.print(f"  {directory / file}", highlight=False)
        console.print(f"\nnext: cd {directory} && headwater up --project .")

    session.answer({"directory": str(directory), "shape": shape, "files": files}, draw)
