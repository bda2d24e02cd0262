"""``headwater serve``: one process by itself, as a service manager or a container runs it."""

from __future__ import annotations

import importlib
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.core.errors import HeadwaterError
from headwater.core.lean import be_frugal, keep_pandas_out, kept_out
from headwater.core.logging import configure_logging


class Process(StrEnum):
    """What can be served alone."""

    CONTROL = "control"
    SERVICES = "services"
    SEALER = "sealer"
    WORKER = "worker"


#: Imported by name, so that no process carries the libraries of another.
_MODULES: Final = {
    Process.CONTROL: "headwater.control.server",
    Process.SERVICES: "headwater.services.server",
    Process.SEALER: "headwater.jobs.sealer",
    Process.WORKER: "headwater.cli.worker",
}
app = typer.Typer(add_completion=False)


@app.command()
def serve(
    process: Annotated[Process, typer.Argument(help="What to run")],
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless set")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of services")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Services: run only this one (repeatable)")] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one process until it is told to stop by SIGTERM or Ctrl-C. With --json, its log lines are JSON."""
    listens = process in (Process.CONTROL, Process.SERVICES)
    if not listens and (host is not None or port is not None):
        raise HeadwaterError("setting_invalid", f"{process} does not listen", hint="leave out --host and --port")
    if process is not Process.SERVICES and (only or workers):
        raise HeadwaterError("setting_invalid", f"{process} has no services", hint="leave out --only and --workers")
    flags: dict[str, Any] = {"services__workers": workers, "log__format": "json" if as_json else None}
    if listens:
        flags |= {f"{process}__host": host, f"{process}__port": port}
    session = open_session(home, project, json=as_json, **flags)
    session.home.prepare()
    keep_pandas_out()
    if process is Process.SERVICES:
        be_frugal()
    configure_logging(session.settings.log, process=process)
    with kept_out("rich"):  # httpx would load it for its command line
        run = importlib.import_module(_MODULES[process]).serve
    if process is Process.SERVICES:
        run(session.settings, only or None)
    else:
        run(session.settings)
