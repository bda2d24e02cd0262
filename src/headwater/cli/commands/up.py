"""``headwater up``: everything on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.cli.supervisor.run import run

app = typer.Typer(add_completion=False)


@app.command()
def up(
    *,
    control_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of console, admin and control API; 8000 unless set")
    ] = None,
    services_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of ingest, query and inference; 8001 unless set")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of services; 1 unless set")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address that control and services listen on; 127.0.0.1 unless set")
    ] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start control plane, services, sealer, worker and Valkey; apply the project; show where everything is.

    It stays in the foreground. Stop it with Ctrl-C or SIGTERM at any moment: nothing acknowledged is lost. With --json,
    the processes log JSON lines.
    """
    session = open_session(
        home,
        project,
        json=as_json,
        control__port=control_port,
        services__port=services_port,
        services__workers=workers,
        control__host=host,
        services__host=host,
        log__format="json" if as_json else None,
    )
    run(session.settings, sys.stdout)
