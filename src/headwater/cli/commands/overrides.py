"""``headwater overrides``: asking for other answers of models, approving and revoking them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from headwater.cli.commands.review import read_pairs
from headwater.cli.connect import require_control
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import Session, open_session
from headwater.cli.tables import draw_table
from headwater.contracts.durations import parse_duration
from headwater.core.errors import HeadwaterError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Ask for, approve and revoke overrides.")
OverrideArgument = Annotated[str, typer.Argument(help="The override, such as ovr_…")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the audit log")]


@app.command("list")
def list_overrides(
    *,
    state: Annotated[str, typer.Option(help="requested, approved, rejected or revoked")] = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the environment's overrides, newest first."""
    session = open_session(home, project, json=as_json)
    with require_control(session) as control:
        document = control.request("GET", _place(session) + (f"?state={state}" if state else ""))

    def draw(console: Console) -> None:
        columns = ("override", "phase", "model", "output", "value", "for", "until", "asked by", "decided by")
        draw_table(console, columns, [_row(one) for one in document["items"]])

    session.answer(document, draw)


@app.command()
def request(
    model: Annotated[str, typer.Argument(help="The model")],
    output: Annotated[str, typer.Argument(help="Which of its outputs")],
    value: Annotated[str, typer.Argument(help="What it is to be, as JSON or text")],
    *,
    where: Annotated[list[str], typer.Option("--where", help="An input that must be equal: name=value; repeat it")],
    until: Annotated[str, typer.Option(help="When it ends: a duration such as 12h or 3d, or an instant")],
    reason: Annotated[str, typer.Option(help="Why; callers of the model read it")],
    entity: Annotated[bool, typer.Option("--entity", help="--where names an entity instead of inputs")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for an output to be another value for a while. Somebody else has to approve it."""
    session = open_session(home, project, json=as_json)
    body = {
        "model": model,
        "output": output,
        "value": read_pairs([f"value={value}"], "value")["value"],
        "by": "entity" if entity else "inputs",
        "key": read_pairs(where, "--where"),
        "valid_until": _instant(until),
        "reason": reason,
    }
    with require_control(session) as control:
        document = control.request("POST", _place(session), json=body)
    session.answer(document, lambda console: console.print(f"{document['id']} waits for somebody else's approval"))


@app.command()
def approve(
    override: OverrideArgument,
    *,
    reason: ReasonOption = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve an override that somebody else asked for."""
    _decide("approve", override, reason, open_session(home, project, json=as_json))


@app.command()
def reject(
    override: OverrideArgument,
    *,
    reason: ReasonOption = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse an override that was asked for."""
    _decide("reject", override, reason, open_session(home, project, json=as_json))


@app.command()
def revoke(
    override: OverrideArgument,
    *,
    reason: ReasonOption = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an override; answers are the model's own again within a second."""
    _decide("revoke", override, reason, open_session(home, project, json=as_json))


def _decide(verb: str, override: str, reason: str, session: Session) -> None:
    with require_control(session) as control:
        document = control.request("POST", f"{_place(session)}/{override}/{verb}", json={"reason": reason})
    session.answer(document, lambda console: console.print(f"{document['id']} is {document['phase']}"))


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    key = ", ".join(f"{name}={value}" for name, value in one["key"].items())
    until = one["valid_until"][:16].replace("T", " ")
    said = json.dumps(one["value"], ensure_ascii=False)
    return (one["id"], one["phase"], one["model"], one["output"], said, key, until, one["requested_by"],
            one["decided_by"])  # fmt: skip


def _instant(text: str) -> str:
    """Return when a duration from now ends, or the instant that was written."""
    try:
        return (datetime.now(UTC) + parse_duration(text)).isoformat()
    except ValueError:
        pass
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise HeadwaterError(
            "invalid_parameter", f"--until {text[:40]!r} is neither a duration nor an instant",
            hint="write 12h, 3d or 2026-12-24T18:00Z",
        ) from error  # fmt: skip
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).isoformat()


def _place(session: Session) -> str:
    target = session.settings.target
    return f"/organizations/{target.organization}/projects/{target.project}/environments/{target.environment}/overrides"
