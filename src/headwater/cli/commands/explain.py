"""``headwater explain``: why somebody can or cannot do something, and what decides."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session

app = typer.Typer(add_completion=False)


@app.command()
def explain(
    principal: Annotated[
        str, typer.Argument(help="A member's address, a service account's name, or a key (key_… or hw_…)")
    ],
    permission: Annotated[str, typer.Argument(help="Such as dataset.read")],
    resource: Annotated[str, typer.Argument(help="Such as dataset:flights; left out: everything of the kind")] = "",
    *,
    address: Annotated[str | None, typer.Option(help="Where a key is used from")] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why somebody can or cannot do something here; exit code 1 when they cannot."""
    session = open_session(home, project, json=as_json)
    ask = importlib.import_module("headwater.cli.explaining").ask
    answer: dict[str, Any] = ask(session.settings, principal, permission, resource, address)

    def draw(console: Console) -> None:
        console.print("yes" if answer["allowed"] else "no", style="green" if answer["allowed"] else "red")
        console.print(answer["reason"], markup=False, highlight=False)
        for line in (*answer["considered"], *(rows["reason"] for rows in answer["rows"])):
            console.print(f"- {line}", markup=False, highlight=False)

    session.answer(answer, draw)
    if not answer["allowed"]:
        raise typer.Exit(1)
