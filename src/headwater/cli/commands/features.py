"""``headwater features``: what there is, reading it online and as history, and building the online state."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from headwater.cli.connect import connect
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table
from headwater.core.errors import HeadwaterError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Read and build features of entities.")
ViewArgument = Annotated[str, typer.Argument(help="Name of the feature view")]


@app.command("list")
def list_views(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the feature views with their features."""
    session = open_session(home, project, json=as_json)
    with connect(session) as client:
        views = client.feature_views()

    def draw(console: Console) -> None:
        columns = ("view", "entity", "feature", "type", "computed as", "dataset")
        rows = [
            (view["name"], ", ".join(view["entities"]), one["name"], one["type"], one["computed"], view["dataset"])
            for view in views
            for one in view["features"]
        ]
        draw_table(console, columns, rows)

    session.answer(views, draw)


@app.command()
def read(
    view: ViewArgument,
    entity: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="The entity's key, and request inputs")],
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the features of one entity as they are now."""
    session = open_session(home, project, json=as_json)
    with connect(session) as client:
        known = client.feature_view(view)
        types = dict(zip(known["entities"], known["entity_types"], strict=True))
        types |= {item["name"]: item["type"] for item in known["inputs"]}
        (result,) = client.read_features(view, [dict(_pair(text, types) for text in entity)])

    def draw(console: Console) -> None:
        rows = [(name, value, result["status"][name]) for name, value in result["values"].items()]
        draw_table(console, ("feature", "value", "status"), rows, thousands=False)
        console.print(f"of {result['event_time'] or 'no row'}")

    session.answer(result, draw)


@app.command()
def history(
    view: ViewArgument,
    labels: Annotated[Path, typer.Argument(help="CSV, JSON or Arrow file of labels")],
    *,
    time: Annotated[str | None, typer.Option(help="The labels' time column")] = None,
    form: Annotated[str, typer.Option("--format", help="csv, json or arrow")] = "csv",
    out: Annotated[Path | None, typer.Option(help="File to write; stdout unless set")] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Join labels with the features that their entities had at the labels' times: a training frame."""
    session = open_session(home, project, json=as_json)
    with connect(session) as client:
        frame = client.feature_history_bytes(view, labels, time=time, form="json" if as_json else form)
    if out is None:
        sys.stdout.buffer.write(frame)
    else:
        out.write_bytes(frame)


@app.command()
def materialize(
    view: ViewArgument,
    *,
    since: Annotated[str | None, typer.Option("--from", help="Leave out rows of earlier events")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Leave out rows of this event time and later")] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a view's online state anew from the lake; goes on where it was interrupted.

    Reads go on meanwhile and see the new state at once when it is whole. The sealer does this by itself for a view that
    is new or changed; this is for a span of time, or when in doubt.
    """
    session = open_session(home, project, json=as_json)
    # Imported by name: it loads the lake and DuckDB.
    building = importlib.import_module("headwater.cli.feature_build")
    document = building.build_view(session, view, _instant("--from", since), _instant("--to", until))

    def draw(console: Console) -> None:
        console.print(f"{view}: generation {document['generation']} holds the rows up to number {document['seq']:,}")

    session.answer(document, draw)


def _pair(text: str, types: dict[str, Any]) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise HeadwaterError("invalid_parameter", f"{text!r} is not of the form key=value")
    try:
        match types.get(name):
            case "integer":
                return name, int(value)
            case "number":
                return name, float(value)
            case "boolean":
                return name, {"true": True, "false": False}[value.lower()]
            case _:
                return name, value
    except (ValueError, KeyError) as error:
        raise HeadwaterError("invalid_parameter", f"{name} must be of type {types[name]}, not {value!r}") from error


def _instant(option: str, text: str | None) -> int | None:
    """Return an instant in microseconds; a date is its midnight, and without an offset it is UTC."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise HeadwaterError(
            "invalid_parameter", f"{option} {text!r} is no instant", hint="write 2013-01-31 or 2013-01-31T12:00:00Z"
        ) from error
    instant = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return int(instant.timestamp()) * 1_000_000
