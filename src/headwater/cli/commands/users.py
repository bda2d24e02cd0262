"""``headwater users``: people who may sign in."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.core.errors import HeadwaterError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create administrators.")


@app.callback()
def users() -> None:
    """Create administrators."""


@app.command("create-admin")
def create_admin(
    *,
    email: Annotated[str, typer.Option(help="Address to sign in with")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input; else one is made")
    ] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an administrator and owner, or give an existing one a new password; it is shown once."""
    session = open_session(home, project, json=as_json)
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    if password_stdin and not password:
        raise HeadwaterError("invalid_parameter", "there is no password on standard input")
    made = importlib.import_module("headwater.control.bootstrap").create_admin(session.settings, email, password)

    owned = session.settings.target.organization

    def draw(console: Console) -> None:
        console.print(f"{made.email} is {'a new' if made.created else 'an'} administrator, and owner of {owned}")
        if made.password:
            console.print(f"password: {made.password}")

    session.answer(asdict(made), draw)
