"""``headwater restore``: a home from a backup."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.places import outside_the_home
from headwater.cli.progress import show_progress
from headwater.cli.session import open_session
from headwater.jobs.backup import restore as restore_home

app = typer.Typer(add_completion=False)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="What `headwater backup` made")],
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new home of a backup and check it: databases, tables and row counts. The home must not exist yet."""
    session = open_session(home, project, json=as_json)
    total = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    with show_progress("restoring", [total]) as progress:

        def said(what: str, size: int) -> None:
            progress.file(what)
            progress.bytes(size)

        made = restore_home(source.absolute(), session.home, said)
    elsewhere = outside_the_home(session.settings)

    def draw(console: Console) -> None:
        console.print(
            f"{session.home.root}: {made.rows:,} sealed rows in {len(made.tables)} tables, as of {made.made_at}"
        )
        for setting in elsewhere:
            console.print(f"note: {setting} names another place; what was backed up of it lies in the home")
        console.print("next: headwater up, then headwater doctor and headwater audit verify")

    answer = {"home": str(session.home.root), **asdict(made), "rows": made.rows, "elsewhere": elsewhere}
    session.answer(answer, draw)
