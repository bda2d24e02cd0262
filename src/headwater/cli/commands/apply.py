"""``headwater apply``: make the environment what a project directory says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.project.route import apply_somewhere
from headwater.cli.served import wait_until_served
from headwater.cli.session import open_session

app = typer.Typer(add_completion=False)


@app.command()
def apply(
    directory: Annotated[Path | None, typer.Argument(help="Project directory; --project or . unless given")] = None,
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply a project directory: all of it, or nothing when any file has an error.

    Returns once the services serve it, or says after five seconds that they do not yet.
    """
    session = open_session(home, directory or project or Path(), json=as_json)
    outcome = apply_somewhere(session, dry_run=False)
    trouble = wait_until_served(session, outcome.plain["snapshot"] or 0)

    def draw(console: Console) -> None:
        outcome.draw(console)
        if trouble:
            console.print(trouble)

    session.answer({**outcome.plain, "warning": trouble}, draw)
