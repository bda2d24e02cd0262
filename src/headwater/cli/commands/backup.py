"""``headwater backup``: a copy of a home that may be running."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.places import backup_sources
from headwater.cli.progress import show_progress
from headwater.cli.session import open_session
from headwater.jobs.backup import make_backup

app = typer.Typer(add_completion=False)
_ELSEWHERE: Final = "the control database lies on a server and is not in it: back that up too, after this (pg_dump)"


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet")],
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the home to a new folder, while it runs or not: every row acknowledged before this began is in it, once.

    The copy holds secrets: keep it as safe as the home. It appears under its name only when it is complete.
    """
    session = open_session(home, project, json=as_json)
    sources = backup_sources(session.settings)
    with show_progress("backing up", [sources.size()]) as progress:

        def said(what: str, size: int) -> None:
            progress.file(what)
            progress.bytes(size)

        made = make_backup(sources, target.absolute(), said)

    def draw(console: Console) -> None:
        console.print(f"{target}: {made.rows:,} sealed rows in {len(made.tables)} tables, and what the journal holds")
        if not made.has_control:
            console.print(f"note: {_ELSEWHERE}")

    session.answer({"backup": str(target), **asdict(made), "rows": made.rows}, draw)
