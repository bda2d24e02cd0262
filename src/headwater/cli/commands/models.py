"""``headwater models``: push versions, see what there is, move the traffic and take it back."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from headwater.cli.commands.model_batch import batch
from headwater.cli.commands.model_report import report
from headwater.cli.commands.model_skew import skew
from headwater.cli.connect import connect_control, connect_registry
from headwater.cli.model_views import draw_changes, draw_checks, draw_model, draw_models, draw_version, route_text
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.project.artifacts import put_artifacts
from headwater.cli.project.files import collect_model
from headwater.cli.registry import Reference, number_of, parse_share
from headwater.cli.session import Session, open_session
from headwater.client.registry import WHOLE, Role

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Push, test, promote and roll back models.")
app.command()(batch)
app.command()(report)
app.command()(skew)
ModelArgument = Annotated[str, typer.Argument(metavar="NAME[@ALIAS|:VERSION]", help="A model, or one of its versions")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the audit log and the history")]


@app.command()
def push(
    directory: Annotated[Path, typer.Argument(help="Directory with model.yaml and what it names")],
    *,
    hold: Annotated[bool, typer.Option(help="Keep a new version from taking traffic")] = False,
    promote_it: Annotated[bool, typer.Option("--promote", help="Give it all traffic, new or not")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a version and run its checks; pushing what is already there changes nothing.

    A new version takes all traffic at once, unless the environment is protected, one of its own checks fails, or
    --hold is given.
    """
    session = open_session(home, project, json=as_json)
    document = _push(session, directory, hold=hold)
    if promote_it:
        with connect_registry(session) as registry:
            registry.promote(document["model"], document["version"], reason="pushed with --promote")
            document["routes"] = registry.model(document["model"])["routes"].get(session.settings.target.environment)
    session.answer(document, lambda console: _draw_pushed(console, document))


@app.command("test")
def try_out(
    directory: Annotated[Path, typer.Argument(help="Directory with model.yaml and what it names")],
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load a model in a process of its own, run its golden rows and measure it; no server is needed.

    Exits with 1 when it does not hold what its model.yaml asks of it.
    """
    session = open_session(home, project, json=as_json)
    # Imported by name: it loads what runs models.
    trial = importlib.import_module("headwater.cli.model_test")
    document = trial.try_model(directory, session.settings.inference)
    session.answer(document, lambda console: trial.draw_trial(console, document))
    demands = importlib.import_module("headwater.control.registry.demands").OWN_DEMANDS
    if any(check["status"] == "failed" and check["name"] in demands for check in document["checks"]):
        raise typer.Exit(1)


@app.command("list")
def list_models(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the models with their aliases and routes."""
    session = open_session(home, project, json=as_json)
    with connect_registry(session) as registry:
        document = {"items": registry.models()}
    environment = session.settings.target.environment
    session.answer(document, lambda console: draw_models(console, document["items"], environment))


@app.command()
def show(
    model: ModelArgument, *, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Show a model with its versions and rollouts, or one version with its checks, lineage and card."""
    session = open_session(home, project, json=as_json)
    reference = Reference.parse(model)
    with connect_registry(session) as registry:
        if reference.is_precise:
            version = registry.version(reference.name, number_of(registry, reference))
            session.answer(version, lambda console: draw_version(console, reference.name, version))
            return
        document = registry.model(reference.name) | {
            "versions": registry.versions(reference.name),
            "deployments": registry.deployments(reference.name),
            "rollouts": registry.rollouts(reference.name),
        }
    parts = document["versions"], document["deployments"], document["rollouts"]
    session.answer(document, lambda console: draw_model(console, document, *parts))


@app.command()
def promote(
    model: ModelArgument,
    *,
    weight: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Try it with a share of the traffic, such as 10%")
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Show it the traffic, or that share of it, and answer nobody")
    ] = False,
    reason: ReasonOption = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a version all of the environment's traffic, or try it beside the champion; the newest one unless named."""
    session = open_session(home, project, json=as_json)
    reference = Reference.parse(model)
    share = parse_share(weight) if weight is not None else WHOLE
    role: Role = "shadow" if shadow else "canary" if share < WHOLE else "primary"
    with connect_registry(session) as registry:
        number = number_of(registry, reference)
        document = registry.promote(reference.name, number, role=role, weight_bps=share, reason=reason)
        routes = registry.model(reference.name)["routes"].get(session.settings.target.environment, [])
    document["routes"] = routes

    def draw(console: Console) -> None:
        served = ", ".join(map(route_text, routes))
        console.print(f"{reference.name} in {session.settings.target.environment}: {served}")
        draw_changes(console, document.get("changes", ()))

    session.answer(document, draw)


@app.command()
def rollback(
    model: ModelArgument,
    *,
    reason: ReasonOption = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back what was rolled out last: end the canaries, or else let the champion before answer again.

    With a version, take that one out.
    """
    session = open_session(home, project, json=as_json)
    reference = Reference.parse(model)
    with connect_registry(session) as registry:
        number = number_of(registry, reference) if reference.is_precise else None
        document = registry.roll_back(reference.name, number, reason=reason)

    def draw(console: Console) -> None:
        served = ", ".join(map(route_text, document["routes"]))
        console.print(f"{reference.name} in {document['environment']}: {served}; services follow within a second")
        draw_changes(console, document.get("changes", ()))

    session.answer(document, draw)


@app.command()
def approve(
    model: ModelArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why it may be served; it is kept", show_default=False)],
    override: Annotated[bool, typer.Option("--override", help="In spite of failed checks")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Allow a version that somebody else pushed in protected environments; the newest one unless named."""
    session = open_session(home, project, json=as_json)
    reference = Reference.parse(model)
    with connect_registry(session) as registry:
        number = number_of(registry, reference)
        document = registry.approve(reference.name, number, reason=reason, override=override)

    def draw(console: Console) -> None:
        console.print(f"{reference.name} version {document['number']} is {document['state']}")
        draw_checks(console, [check for check in document["checks"] if check["status"] == "failed"])

    session.answer(document, draw)


def _push(session: Session, directory: Path, *, hold: bool) -> dict[str, Any]:
    project = collect_model(directory)
    (model,) = project.resources["models"]
    entry: dict[str, Any] = {name: value for name, value in model.items() if name != "source"} | {"hold": hold}
    api = connect_control(session)
    if api is None:
        # Imported by name: only this way needs Django.
        here = importlib.import_module("headwater.cli.project.local").push_here
        document: dict[str, Any] = here(session.settings, project, entry)
        return document
    with api:
        put_artifacts(api, project.artifacts)
    with connect_registry(session) as registry:
        digests = {name: entry.get(name, "") for name in ("artifact_sha256", "profile_sha256")}
        return registry.push(entry["text"], **digests, hold=hold)


def _draw_pushed(console: Console, document: dict[str, Any]) -> None:
    what = "registered" if document["created"] else "is there already"
    console.print(f"{document['model']} version {document['version']} {what} ({document['state']})")
    draw_checks(console, document["checks"])
    routes = ", ".join(map(route_text, document["routes"] or ())) or "nothing"
    console.print(f"served: {routes}")
