"""``headwater audit``: is the log of every change whole, and what does it say."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.core.ids import format_id

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Verify, sign and export the audit log.")


@app.callback()
def audit() -> None:
    """Verify, sign and export the audit log."""


@app.command()
def verify(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Recompute every chain of hashes and hold it against its signed checkpoints; exit code 1 when one fails."""
    session = open_session(home, project, json=as_json)
    importlib.import_module("headwater.control.bootstrap").prepare(session.settings)
    archive = importlib.import_module("headwater.control.audit.checkpoints").current_archive()
    reports: list[Any] = importlib.import_module("headwater.control.audit.verify").verify_all(archive)
    chains = [
        {
            "organization_id": format_id("org", report.org_id),
            "events": report.events,
            "checkpoints": report.checkpoints,
            "problem": report.problem,
        }
        for report in reports
    ]

    def draw(console: Console) -> None:
        for chain in chains:
            verdict = chain["problem"] or "whole"
            counts = f"{chain['events']:,} events, {chain['checkpoints']:,} checkpoints"
            console.print(f"{chain['organization_id']}: {counts}, {verdict}")

    whole = not any(chain["problem"] for chain in chains)
    session.answer({"whole": whole, "chains": chains}, draw)
    if not whole:
        raise typer.Exit(1)


@app.command()
def sign(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Export new events to the lake and sign how far the log reaches, as the worker does every ten minutes."""
    session = open_session(home, project, json=as_json)
    importlib.import_module("headwater.control.bootstrap").prepare(session.settings)
    key = importlib.import_module("headwater.control.snapshots.publish").signing_key()
    checkpoints = importlib.import_module("headwater.control.audit.checkpoints")
    made: int = checkpoints.make_checkpoints(key, session.settings.lake_folder)
    session.answer({"checkpoints": made}, lambda console: console.print(f"{made} checkpoints signed"))


@app.command()
def export(
    *,
    since: Annotated[datetime | None, typer.Option(help="Only events from then on (UTC)")] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
) -> None:
    """Write every event as a line of JSON, oldest first in each organisation, with its place in the chain."""
    session = open_session(home, project, json=True)
    importlib.import_module("headwater.control.bootstrap").prepare(session.settings)
    lines = importlib.import_module("headwater.control.audit.exporting").lines
    for line in lines(since=since.replace(tzinfo=UTC) if since else None):
        typer.echo(json.dumps(line, ensure_ascii=False))
