"""``headwater models skew``: whether features were served as history has them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from headwater.cli.connect import connect, connect_registry
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.registry import Reference, number_of
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table, shown
from headwater.client import Client

_EXAMPLES = 3


def skew(
    model: Annotated[
        str, typer.Argument(metavar="NAME[@ALIAS|:VERSION]", help="The champion unless a version is named")
    ],
    *,
    hours: Annotated[int, typer.Option(min=1, max=2_160, help="How far back predictions are drawn from")] = 24,
    sample: Annotated[int, typer.Option(min=1, max=100_000, help="How many predictions at most")] = 1_000,
    last: Annotated[bool, typer.Option("--last", help="Show what the newest check found, and do none")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the features that predictions were made of with what their history says of the same instants.

    Exit code 1 when the check failed.
    """
    session = open_session(home, project, json=as_json)
    reference = Reference.parse(model)
    number = reference.number
    if reference.alias is not None:
        with connect_registry(session) as registry:
            number = number_of(registry, reference)
    with connect(session) as client:
        found = _found(client, reference.name, number, hours=hours, sample=sample, last=last)
    session.answer(found, lambda console: draw_skew(console, found))
    if found["state"] in ("failed", "cancelled"):
        sys.exit(1)


def draw_skew(console: Console, found: Mapping[str, Any]) -> None:
    """Write what a check found to a terminal."""
    report = found["report"]
    if found["error"]:
        console.print(shown(f"the newest check {found['state']}: {found['error']['detail']}"))
    if report is None:
        console.print("no check has been made yet" if found["state"] is None else f"the check is {found['state']}")
        return
    name = f"{report['model']} version {report['version']}"
    console.print(shown(f"{name}: {report['sampled']:,} predictions from {report['since']} to {report['until']}"))
    rows = [
        (
            f"{one['view']}.{one['feature']}",
            f"{one['compared']:,}",
            f"{one['differing']:,}",
            "" if one["max_abs_diff"] is None else f"{one['max_abs_diff']:.6g}",
        )
        for one in report["features"]
    ]
    draw_table(console, ("feature", "compared", "differing", "greatest difference"), rows)
    for one in report["features"]:
        for example in one["examples"][:_EXAMPLES]:
            said = f"served {example['served']}, history says {example['history']}"
            console.print(shown(f"{one['feature']}: {example['prediction_id']} as of {example['as_of']} {said}"))
    for member, words in (
        ("without_key", "the entity is not in the log"),
        ("other_revision", "the view has changed since"),
    ):
        if report[member]:
            console.print(f"{report[member]:,} not compared: {words}")


def _found(client: Client, name: str, number: int | None, *, hours: int, sample: int, last: bool) -> dict[str, Any]:
    if last:
        return client.skew(name, version=number)
    return client.check_skew(name, version=number, hours=hours, sample=sample)
