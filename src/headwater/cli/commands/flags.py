"""``headwater flags``: what is decided where, switching, asking, and finding what has had its day."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.console import Console

from headwater.cli.connect import connect, require_control
from headwater.cli.control_api import ControlApi
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import Session, open_session
from headwater.cli.tables import draw_table
from headwater.core.errors import HeadwaterError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, switch and evaluate feature flags.")
KeyArgument = Annotated[str, typer.Argument(help="Key of the flag")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the audit log; protected environments want it")]


@app.command("list")
def list_flags(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the project's flags with what the environment says."""
    session = open_session(home, project, json=as_json)
    with require_control(session) as control:
        flags = _all(control, f"{_project(session)}/flags")
        configs = {item["flag"]: item for item in _all(control, f"{_place(session)}/flags")}

    def draw(console: Console) -> None:
        rows = [
            (
                flag["key"],
                flag["type"],
                "on" if configs[flag["key"]]["enabled"] else "off",
                configs[flag["key"]]["default"],
                len(configs[flag["key"]]["rules"]),
                flag["kind"],
                flag["owner"],
                flag["remove_by"] or "",
            )
            for flag in flags
            if flag["key"] in configs
        ]
        draw_table(console, ("flag", "type", "state", "default", "rules", "kind", "owner", "remove by"), rows)

    session.answer({"flags": [{**flag, "config": configs.get(flag["key"])} for flag in flags]}, draw)


@app.command()
def show(
    key: KeyArgument, *, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Show a flag, and its rules in words."""
    session = open_session(home, project, json=as_json)
    with require_control(session) as control:
        flag = control.request("GET", f"{_project(session)}/flags/{key}")
        config = control.request("GET", f"{_place(session)}/flags/{key}")

    def draw(console: Console) -> None:
        state = "archived" if flag["archived_at"] else "on" if config["enabled"] else "off"
        console.print(f"{key}: {state} in {session.settings.target.environment}")
        if flag["description"]:
            console.print(flag["description"])
        draw_table(console, ("variant", "value"), [(name, json.dumps(v)) for name, v in flag["variants"].items()])
        for number, words in enumerate(config["in_words"], start=1):
            console.print(f"{number}. {words}")
        console.print(f"otherwise {config['default']}; {flag['off']} while it is off")

    session.answer({**flag, "config": config}, draw)


@app.command()
def toggle(
    key: KeyArgument,
    state: Annotated[str, typer.Argument(help="on or off")],
    *,
    reason: ReasonOption = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch a flag on or off; services answer accordingly within a second."""
    if state not in {"on", "off"}:
        raise HeadwaterError("invalid_parameter", f"{state[:40]!r} is no state", hint="write on or off")
    session = open_session(home, project, json=as_json)
    with require_control(session) as control:
        body = {"enabled": state == "on", "reason": reason}
        config = control.request("POST", f"{_place(session)}/flags/{key}/toggle", json=body)
    session.answer(config, lambda console: console.print(f"{key} is {state} in {config['environment']}"))


@app.command()
def evaluate(
    key: KeyArgument,
    attributes: Annotated[list[str] | None, typer.Argument(help="Context as name=value, such as plan=pro")] = None,
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Ask control which rule decides, and why")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for a flag's value as an application does, with targetingKey=… and other attributes."""
    session = open_session(home, project, json=as_json)
    context = dict(_pair(text) for text in attributes or ())
    if explain:
        with require_control(session) as control:
            answer = control.request("POST", f"{_place(session)}/flags/{key}/evaluate", json={"context": context})
    else:
        with connect(session) as client:
            answer = client.flag_details(key, context)

    def draw(console: Console) -> None:
        console.print(f"{key} = {json.dumps(answer.get('value'))} ({answer.get('variant')}, {answer['reason']})")
        for step in answer.get("steps", ()):
            console.print(f"  {step['what']}: {step['result']}, {step['why']}")

    session.answer(answer, draw)


@app.command()
def stale(
    *,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Unchanged, or not asked for, for so long")] = 30,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the flags that have had their day, and why: what to take out of the code."""
    session = open_session(home, project, json=as_json)
    with require_control(session) as control:
        found = _all(control, f"{_place(session)}/stale-flags", days=days)

    def draw(console: Console) -> None:
        rows = [(item["key"], item["owner"], "; ".join(item["reasons"])) for item in found]
        draw_table(console, ("flag", "owner", "why"), rows)

    session.answer({"flags": found}, draw)


def _all(control: ControlApi, path: str, **asked: int) -> list[dict[str, Any]]:
    """Return the items of every page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {**asked, "limit": 200} | ({"cursor": cursor} if cursor else {})
        page = control.request("GET", f"{path}?{urlencode(query)}")
        found += page["items"]
        cursor = page["next"]
    return found


def _project(session: Session) -> str:
    target = session.settings.target
    return f"/organizations/{target.organization}/projects/{target.project}"


def _place(session: Session) -> str:
    return f"{_project(session)}/environments/{session.settings.target.environment}"


def _pair(text: str) -> tuple[str, Any]:
    """Return an attribute: numbers, true and false, objects and lists as JSON writes them, anything else as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise HeadwaterError("invalid_parameter", f"{text!r} is not of the form name=value")
    if name == "targetingKey":
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
