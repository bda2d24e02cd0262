"""``headwater doctor``: what is wrong, and the cure."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.console import Console

from headwater.cli.doctor import examine
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session

app = typer.Typer(add_completion=False)
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@app.command()
def doctor(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Examine home, secrets, disk, ports, processes, configuration and sealer; exit code 1 when something fails."""
    session = open_session(home, project, json=as_json)
    findings = list(examine(session.settings))

    def draw(console: Console) -> None:
        for finding in findings:
            console.print(f"{finding.status:<4}  ", style=_STYLES[finding.status], end="")
            console.print(f"{finding.subject:<9}  {finding.detail}")
            if finding.cure and finding.status != "ok":
                console.print(f"                 cure: {finding.cure}")

    healthy = all(finding.status != "fail" for finding in findings)
    session.answer({"healthy": healthy, "findings": [asdict(finding) for finding in findings]}, draw)
    if not healthy:
        raise typer.Exit(1)
