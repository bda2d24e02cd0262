"""``headwater audit``: is the log of every change whole."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Verify the audit log.")


@app.callback()
def audit() -> None:
    """Verify the audit log."""


@app.command()
def verify(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Recompute every chain of hashes; exit code 1 when one does not hold."""
    session = open_session(home, project, json=as_json)
    importlib.import_module("headwater.control.bootstrap").prepare(session.settings)
    reports: list[Any] = importlib.import_module("headwater.control.audit.verify").verify_all()
    chains = [
        {"organization_id": str(report.org_id), "events": report.events, "problem": report.problem}
        for report in reports
    ]

    def draw(console: Console) -> None:
        for chain in chains:
            verdict = chain["problem"] or "whole"
            console.print(f"{chain['organization_id']}: {chain['events']:,} events, {verdict}")

    whole = not any(chain["problem"] for chain in chains)
    session.answer({"whole": whole, "chains": chains}, draw)
    if not whole:
        raise typer.Exit(1)
