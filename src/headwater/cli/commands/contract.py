"""``headwater contract``: check contract files, and get contracts out of a running system."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from headwater.cli.connect import connect
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.resumable import format_of, open_counted
from headwater.cli.session import Session, open_session
from headwater.cli.tables import draw_table
from headwater.client.framing import split
from headwater.contracts.infer import infer_contract
from headwater.contracts.model import Contract
from headwater.contracts.odcs import export_contract, parse_contract
from headwater.contracts.rows import CsvDialect, Format
from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.compat import compare_contracts, major
from headwater.core.errors import HeadwaterError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Infer, check and export data contracts.")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Contract file (Open Data Contract Standard)")],
    new: Annotated[Path | None, typer.Argument(help="A newer version of it, to be compared")] = None,
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a contract file and say what it says; every error names its place.

    With two files, say what changed; exit code 1 when a change breaks producers or readers without a new major version.
    """
    session = open_session(home, project, json=as_json)
    contract = parse_contract(_read(file), source=str(file))
    if new is not None:
        _compare(session, contract, parse_contract(_read(new), source=str(new)))
        return
    document = {"name": contract.name, "version": contract.version, "fields": [asdict(one) for one in contract.fields]}
    session.answer(document, lambda console: _draw(console, contract))


@app.command()
def infer(
    file: Annotated[Path, typer.Argument(help="CSV, NDJSON or JSON, .gz too; - for a pipe")],
    *,
    name: Annotated[str | None, typer.Option(help="The dataset's name; the file's unless given")] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="What the file holds, when its name does not say it")
    ] = None,
    null: Annotated[str, typer.Option(help="CSV: text that means null, such as NA")] = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a contract that the first 10,000 rows of a file fit, to be read and corrected before it is applied."""
    session = open_session(home, project, json=as_json)
    kind = format_of(file, form.value if form else None)
    with open_counted(file, lambda _size: None) as stream:
        piece = next(iter(split(stream, kind)), None)
    if piece is None:
        raise HeadwaterError("empty_body", f"{file} has no rows")
    dialect = CsvDialect(null=null)
    found = infer_contract(piece.body, Format(kind), name=name or _dataset_name(file), dialect=dialect)
    document = export_contract(found.contract)

    def write(_console: Console) -> None:
        for note in (f"{found.rows:,} rows looked at", *found.notes):
            sys.stdout.write(f"# {note}\n")
        sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    session.answer({"contract": document, "rows": found.rows, "notes": found.notes}, write)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="Name of the dataset")],
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the active contract of a dataset as an Open Data Contract Standard file."""
    session = open_session(home, project, json=as_json)
    with connect(session) as client:
        described = client.dataset(name)
    document: dict[str, Any] = export_contract(contract_from_spec(described["schema"]["spec"]))

    def write(_console: Console) -> None:
        sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    session.answer(document, write)


def _compare(session: Session, old: Contract, new: Contract) -> None:
    changes = compare_contracts(old, new)
    allowed = major(old.version) != major(new.version)
    document = {
        "name": new.name,
        "from": old.version,
        "to": new.version,
        "compatible": allowed or not any(change.breaking for change in changes),
        "changes": [asdict(change) for change in changes],
    }

    def draw(console: Console) -> None:
        console.print(f"{new.name} {old.version} to {new.version}: {len(changes)} changes")
        for change in changes:
            console.print(f"{'breaks' if change.breaking else 'fits':<6}  {change}")
        if not document["compatible"]:
            console.print("Breaking changes need a new major version.")

    session.answer(document, draw)
    if not document["compatible"]:
        raise typer.Exit(1)


def _dataset_name(file: Path) -> str:
    """Return a dataset's name for a file's: `Flight Log.csv.gz` becomes `flight_log`."""
    stem = re.sub(r"[^a-z0-9]+", "_", file.name.partition(".")[0].lower()).strip("_")
    return stem[:63] if stem[:1].isalpha() else f"rows_{stem}".rstrip("_")[:63]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HeadwaterError("contract_invalid", f"{file} is not UTF-8", hint="save it as UTF-8") from error


def _draw(console: Console, contract: Contract) -> None:
    console.print(f"{contract.name} {contract.version} is valid: {len(contract.fields)} fields")
    columns = ("field", "type", "required", "nullable", "description")
    yes = {True: "yes", False: ""}
    rows = [
        (field.name, field.type, yes[field.required], yes[field.nullable], field.description)
        for field in contract.fields
    ]
    draw_table(console, columns, rows)
