"""``headwater users``: people who may sign in, and those who are invited."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table
from headwater.core.errors import HeadwaterError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Invite people, and create administrators.")


@app.callback()
def users() -> None:
    """Invite people, and create administrators."""


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


@app.command()
def invite(
    email: Annotated[str, typer.Argument(help="Their address")],
    *,
    role: Annotated[str, typer.Option(help="What they may do in the whole organisation")] = "analyst",
    mail: Annotated[bool, typer.Option("--mail", help="Send the link by mail too")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Invite somebody; the link is shown once, works once and for a week. Whoever is invited already gets another."""
    session = open_session(home, project, json=as_json)
    made = importlib.import_module("headwater.control.bootstrap").invite_user(session.settings, email, role, mail=mail)

    if not session.settings.control.url:
        # What runs here may listen elsewhere than the settings say.
        made = replace(made, link=session.control_url + urlsplit(made.link).path)

    def draw(console: Console) -> None:
        shown = made.invitation
        console.print(f"{shown.email} is invited as {shown.role}, until {shown.expires_at:%Y-%m-%d %H:%M} UTC")
        console.print(made.link, soft_wrap=True)
        if made.mailed:
            console.print("the link was sent by mail")

    session.answer(_plain(asdict(made)), draw)


@app.command()
def invitations(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the newest invitations and what became of them."""
    session = open_session(home, project, json=as_json)
    found = importlib.import_module("headwater.control.bootstrap").list_invitations(session.settings)

    def draw(console: Console) -> None:
        columns = ("invitation", "address", "role", "state", "invited by", "until")
        rows = [
            (one.id, one.email, one.role, one.state, one.invited_by, f"{one.expires_at:%Y-%m-%d %H:%M}")
            for one in found.items
        ]
        draw_table(console, columns, rows)

    session.answer(_plain(asdict(found)), draw)


def _plain(document: Any) -> Any:
    """Return a document with instants as text."""
    if isinstance(document, dict):
        return {name: _plain(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [_plain(value) for value in document]
    return document.isoformat() if isinstance(document, datetime) else document
