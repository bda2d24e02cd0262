"""The ``headwater`` command: finds the command's module, runs it, and turns errors into words and exit codes.

Exit codes: 0 done, 1 it did not work (the reason and the cure are on stderr), 2 it was called wrongly.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
from typing import Annotated, Any, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from headwater import __version__

HELP: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"]}


class Entry(NamedTuple):
    """A command as ``--help`` lists it; its module has a typer application ``app``."""

    module: str
    panel: str
    summary: str


COMMANDS: Final[dict[str, Entry]] = {
    "up": Entry("up", "Run", "Start everything on this machine, in the foreground."),
    "serve": Entry("serve", "Run", "Run one process: control, services, sealer or worker."),
    "doctor": Entry("doctor", "Run", "Examine home, ports, processes and versions; say what is wrong and the cure."),
    "backup": Entry("backup", "Run", "Copy a home, while it runs or not."),
    "restore": Entry("restore", "Run", "Make a home of a backup."),
    "new": Entry("new", "Declare", "Make a project directory to begin with."),
    "plan": Entry("plan", "Declare", "Show what applying a project directory would change."),
    "apply": Entry("apply", "Declare", "Make the environment what a project directory says."),
    "contract": Entry("contract", "Declare", "Infer, check and export data contracts."),
    "models": Entry("models", "Declare", "Push, test, promote and roll back models."),
    "ingest": Entry("ingest", "Data", "Send files to a dataset: resumable, with exact counts."),
    "endpoints": Entry("endpoints", "Data", "List, describe, call and test SQL endpoints."),
    "query": Entry("query", "Data", "Call a SQL endpoint: a table in a terminal, CSV to a pipe."),
    "watch": Entry("watch", "Data", "Watch a SQL endpoint: its rows, again whenever they change."),
    "queries": Entry("queries", "Data", "See which queries took most time, and where answers came from."),
    "features": Entry("features", "Data", "Read and build features of entities."),
    "flags": Entry("flags", "Data", "List, switch and evaluate feature flags, and find stale ones."),
    "datasets": Entry("datasets", "Data", "List the datasets with their counts."),
    "review": Entry("review", "Decide", "List, claim and decide what waits in review queues."),
    "overrides": Entry("overrides", "Decide", "Ask for, approve and revoke overrides of what models answer."),
    "keys": Entry("keys", "Access", "Create, list and revoke API keys."),
    "manage": Entry("manage", "Run", "Run one of Django's commands, for a project's own apps."),
    "explain": Entry("explain", "Access", "Say why somebody can or cannot do something."),
    "users": Entry("users", "Access", "Create administrators."),
    "audit": Entry("audit", "Access", "Verify, sign and export the audit log."),
}


class LazyGroup(TyperGroup):
    """Lists commands from the table and imports a command's module only to run it."""

    def resolve_command(self, ctx, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Swap the listed command for the real one."""
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, TyperCommand) and name in COMMANDS:
            module = importlib.import_module(f"headwater.cli.commands.{COMMANDS[name].module}")
            command = typer.main.get_command(module.app)
            command.name = name
            command.context_settings = {**command.context_settings, **HELP}
            _show_flags_as_such(command)
        return name, command, rest


def _show_flags_as_such(command: Any) -> None:
    """Take ``<bool>`` from the help of what is given without a value, here and in all subcommands."""
    for parameter in command.get_params(typer.Context(command, **HELP)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for nested in getattr(command, "commands", {}).values():
        _show_flags_as_such(nested)


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"headwater {__version__}\n")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


@app.callback()
def headwater(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """The open-source backend for data applications."""


def _leave(_number: int, _frame: object) -> None:
    os._exit(128 + signal.SIGINT)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    _show_flags_as_such(group)
    for name, entry in COMMANDS.items():
        group.add_command(TyperCommand(name, help=entry.summary, rich_help_panel=entry.panel))
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Where a terminal lacks a letter, its code is better than a failure.
            stream.reconfigure(errors="backslashreplace")
    if arguments[:1] == ["up"] and threading.current_thread() is threading.main_thread():
        # What is being imported can lose the exception that Ctrl-C becomes; nothing was started yet that could be left.
        signal.signal(signal.SIGINT, _leave)
    try:
        group.main(arguments, prog_name="headwater")
    except Exception as error:  # noqa: BLE001 - the one place where errors become words
        # Imported when needed: it knows the client's errors, and most runs need neither.
        explain = importlib.import_module("headwater.cli.failure").explain
        sys.exit(explain(error, as_json="--json" in arguments))
    sys.exit(0)
