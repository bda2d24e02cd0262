"""``headwater manage``: Django's own commands, for the Django apps of a project."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.options import HomeOption, ProjectOption
from headwater.cli.session import open_session
from headwater.core.settings import FILE_NAME

app = typer.Typer(add_completion=False)


@app.command(context_settings={"ignore_unknown_options": True})
def manage(
    words: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="One of Django's commands, with its options")
    ],
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
) -> None:
    """Run one of Django's commands in this project, such as `headwater manage makemigrations shipping`.

    Tables are migrated by `headwater up` itself; this is for writing migrations, shells and an app's own commands.
    """
    here = Path()
    session = open_session(home, project or (here if (here / FILE_NAME).is_file() else None), json=False)
    session.home.prepare()
    bootstrap = importlib.import_module("headwater.control.bootstrap")
    bootstrap.setup(session.settings)
    execute = importlib.import_module("django.core.management").execute_from_command_line
    sys.argv = ["headwater manage", *words]
    execute(sys.argv)
