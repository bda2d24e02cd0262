"""``headwater models``: push a version, see what there is, move the traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from headwater.cli.connect import require_control
from headwater.cli.control_api import ControlApi
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.project.files import collect_model
from headwater.cli.project.route import apply_somewhere
from headwater.cli.session import Session, open_session
from headwater.cli.tables import draw_table

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Push, list and promote models.")


@app.command()
def push(
    directory: Annotated[Path, typer.Argument(help="Directory with model.yaml and the artifact")],
    *,
    promote_it: Annotated[
        bool,
        typer.Option("--promote", help="Give it all traffic; where the environment is unprotected, a new one has it"),
    ] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a model's version; pushing what is already there changes nothing."""
    session = open_session(home, project, json=as_json)
    outcome = apply_somewhere(session, dry_run=False, project=collect_model(directory))
    name = _name_in(directory)
    about = outcome.about("model", name)
    session.answer(about.plain, about.draw)
    if promote_it:
        with require_control(session) as api:
            newest = api.request("GET", f"{_models(session)}/{name}/versions?limit=1")["items"][0]["number"]
            _promote(api, session, name, int(newest), "pushed with --promote")


@app.command("list")
def list_models(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the models with their routes."""
    session = open_session(home, project, json=as_json)
    with require_control(session) as api:
        document = api.request("GET", _models(session))

    def draw(console: Console) -> None:
        target = session.settings.target.environment
        rows = [
            (
                model["name"],
                ", ".join(f"{alias} = {number}" for alias, number in model.get("aliases", {}).items()),
                ", ".join(map(_route, model.get("routes", {}).get(target, ()))),
                model.get("description"),
            )
            for model in document["items"]
        ]
        draw_table(console, ("model", "aliases", "routes", "description"), rows)

    session.answer(document, draw)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="Its name")],
    version: Annotated[int, typer.Argument(min=1, help="The version that gets all traffic")],
    *,
    reason: Annotated[str, typer.Option(help="Why, for the audit log")] = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send all of the environment's traffic to one version."""
    session = open_session(home, project, json=as_json)
    with require_control(session) as api:
        document = _promote(api, session, model, version, reason)
    session.answer(document, lambda console: console.print(f"{model} {version} has all traffic"))


def _promote(api: ControlApi, session: Session, model: str, version: int, reason: str) -> dict[str, Any]:
    body = {"environment": session.settings.target.environment, "reason": reason}
    answer: dict[str, Any] = api.request("POST", f"{_models(session)}/{model}/versions/{version}/promote", json=body)
    return answer


def _name_in(directory: Path) -> str:
    """Return the name in a manifest that was just accepted."""
    name: str = yaml.safe_load((directory / "model.yaml").read_text(encoding="utf-8"))["name"]
    return name


def _models(session: Session) -> str:
    target = session.settings.target
    return f"/organizations/{target.organization}/projects/{target.project}/models"


def _route(route: dict[str, Any]) -> str:
    return f"{route['version']} {route['role']} {route['weight_bps'] / 100:g}%"
