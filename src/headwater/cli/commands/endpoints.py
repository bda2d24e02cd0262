"""``headwater endpoints``: what SQL endpoints there are, what they answer, and whether they answer what they should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from headwater.cli.commands.query import query as run_query
from headwater.cli.connect import connect
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.project.files import collect
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table, shown
from headwater.client import ApiError, Client, calls
from headwater.core.endpoints import split_label
from headwater.core.errors import HeadwaterError
from headwater.engines.query.endpoint_file import EndpointFile, parse_endpoint

app = typer.Typer(add_completion=False, no_args_is_help=True, help="See, call and test SQL endpoints.")
app.command("run", help="Call an endpoint and write its rows, as `headwater query` does.")(run_query)
_LISTED: Final = ("endpoint", "version", "parameters", "columns", "reads", "ends")
_TOLERANCE: Final = 1e-9


@app.callback()
def endpoints() -> None:
    """See, call and test SQL endpoints."""


@app.command("list")
def list_endpoints(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the endpoints that the key may call."""
    session = open_session(home, project, json=as_json)
    with connect(session) as client:
        found = _all(client)
    session.answer({"endpoints": found}, lambda console: draw_table(console, _LISTED, map(_line, found)))


@app.command()
def describe(
    endpoint: Annotated[str, typer.Argument(help="Its name, or one version of it, as daily@2")],
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the parameters of an endpoint, its columns, and what they are made of."""
    session = open_session(home, project, json=as_json)
    with connect(session) as client:
        one = _find(_all(client), endpoint)
    session.answer(one, lambda console: _draw(console, one))


@dataclass(frozen=True, slots=True)
class _Example:
    """An example of an endpoint's file with what it expects of the answer."""

    file: Path
    endpoint: EndpointFile
    number: int
    parameters: dict[str, Any]
    expected: Any

    @property
    def name(self) -> str:
        return f"{self.endpoint.label} {self.number}"


@app.command("test")
def check_examples(
    names: Annotated[list[str] | None, typer.Argument(help="Only these endpoints")] = None,
    *,
    update: Annotated[
        bool, typer.Option("--update", help="Write what is answered now into the files that examples expect")
    ] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call the examples of the project's endpoints and hold the answers against what they expect."""
    session = open_session(home, project, json=as_json)
    directory = session.settings.project or Path()
    examples = list(_examples(directory, set(names or ())))
    with connect(session) as client:
        results = [
            {"example": example.name, "problem": _try(client, directory, example, update=update)}
            for example in examples
        ]
    failed = sum(bool(result["problem"]) for result in results)
    session.answer({"results": results, "failed": failed}, lambda console: _draw_results(console, results, failed))
    if failed:
        raise typer.Exit(1)


def _all(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.send(calls.get("/v1/endpoints"))["endpoints"]
    return found


def _find(found: list[dict[str, Any]], label: str) -> dict[str, Any]:
    name, version = split_label(label)
    versions = [one for one in found if one["name"] == name and version in (None, one["version"])]
    if not versions:
        known = ", ".join(sorted({one["name"] for one in found})) or "none"
        raise HeadwaterError("endpoint_not_found", f"there is no endpoint {label!r} for this key; there are: {known}")
    lasting = [one for one in versions if one["deprecated_at"] is None]
    return max(lasting or versions, key=lambda one: int(one["version"]))


def _line(one: dict[str, Any]) -> tuple[object, ...]:
    return (
        shown(one["name"]), one["version"], ", ".join(item["name"] for item in one["parameters"]),
        ", ".join(item["name"] for item in one["columns"]), ", ".join([*one["tables"], *one["uses"]]),
        (one["sunset_at"] or one["deprecated_at"] or "")[:10],
    )  # fmt: skip


def _draw(console: Console, one: dict[str, Any]) -> None:
    console.print(f"{one['name']}@{one['version']}, revision {one['revision']}: {shown(one['description'])}")
    if one["parameters"]:
        draw_table(console, ("parameter", "type", "required", "default"), map(_parameter_line, one["parameters"]))
    origins = {
        name: ", ".join(f"{item['table']}.{item['column']}" for item in listed)
        for name, listed in one["origins"].items()
    }
    columns = [(shown(item["name"]), item["type"], origins.get(item["name"], "")) for item in one["columns"]]
    draw_table(console, ("column", "type", "from"), columns)
    console.print(f"reads {', '.join([*one['tables'], *one['uses']]) or 'no table'}")
    if one["problem"]:
        console.print(f"cannot be served: {shown(one['problem'])}")


def _parameter_line(item: dict[str, Any]) -> tuple[object, ...]:
    default = item["relative"] if item["relative"] is not None else item["default"]
    return shown(item["name"]), item["type"] + ("[]" if item["is_list"] else ""), item["required"], default


def _examples(directory: Path, wanted: set[str]) -> Iterator[_Example]:
    for file in collect(directory).resources["endpoints"]:
        endpoint = parse_endpoint(file["text"], source=file["source"])
        if wanted and not wanted.intersection((endpoint.name, endpoint.label)):
            continue
        pairs = zip(endpoint.examples, endpoint.expectations, strict=True)
        for number, (parameters, expected) in enumerate(pairs, start=1):
            yield _Example(Path(file["source"]), endpoint, number, parameters, expected)


def _try(client: Client, directory: Path, example: _Example, *, update: bool) -> str:
    """Return what is wrong with the answer to an example; ``""`` when nothing is."""
    endpoint = example.endpoint
    try:
        rows = client.query(f"{endpoint.name}@{endpoint.version}", example.parameters).rows
    except ApiError as error:
        return str(error)
    expected = example.expected
    if isinstance(expected, str):
        path = directory / expected
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            expected = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return f"{expected} cannot be read: {error}; --update writes it"
    return "" if expected is None else _difference(expected, rows)


def _difference(expected: Any, rows: list[dict[str, Any]]) -> str:
    """Return the first difference. Numbers may differ in their last digits: sums depend on the order of rows."""
    plain = json.loads(json.dumps(expected, default=str))
    if len(plain) != len(rows):
        return f"{len(plain)} rows are expected, and {len(rows)} came"
    for index, (wanted, row) in enumerate(zip(plain, rows, strict=True)):
        if list(wanted) != list(row):
            return f"row {index}: the columns {', '.join(wanted)} are expected, and {', '.join(row)} came"
        for name, value in wanted.items():
            if not _is_same(value, row[name]):
                return f"row {index}, {name}: {value!r} is expected, and {row[name]!r} came"
    return ""


def _is_same(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return abs(wanted - value) <= _TOLERANCE * max(1.0, abs(wanted))
    return bool(wanted == value)


def _draw_results(console: Console, results: list[dict[str, Any]], failed: int) -> None:
    for result in results:
        console.print(f"{'failed' if result['problem'] else 'ok':7}{shown(result['example'])}")
        if result["problem"]:
            console.print(f"       {shown(result['problem'])}")
    console.print(f"{len(results)} examples, {failed} failed")
