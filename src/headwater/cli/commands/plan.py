"""``headwater plan``: what applying would change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.project.route import apply_somewhere
from headwater.cli.session import open_session

app = typer.Typer(add_completion=False)


@app.command()
def plan(
    directory: Annotated[Path | None, typer.Argument(help="Project directory; --project or . unless given")] = None,
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what applying a project directory would change; nothing is changed."""
    session = open_session(home, directory or project or Path(), json=as_json)
    outcome = apply_somewhere(session, dry_run=True)
    session.answer(outcome.plain, outcome.draw)
