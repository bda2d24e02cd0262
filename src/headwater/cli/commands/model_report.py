"""``headwater models report``: what a version saw and said, in the terminal or as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from textwrap import dedent
from typing import Annotated, Any, Final, cast, get_args

import typer
from rich.console import Console

from headwater.cli.connect import connect_registry
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.registry import Reference, number_of
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table, shown
from headwater.client.registry import Registry, Window
from headwater.core.errors import HeadwaterError

FORMS: Final = {".html": "html", ".htm": "html", ".png": "png", ".json": "json"}
_DISTANCES: Final = ("psi", "ks", "js", "chi2_p")


def report(
    model: Annotated[
        str, typer.Argument(metavar="NAME[@ALIAS|:VERSION]", help="A version; of a model alone, its champion")
    ],
    *,
    window: Annotated[str, typer.Option(metavar="1h|24h|7d", help="How far back")] = "24h",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to a file: .html, .png or .json")
    ] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Show the query for the rows behind each alert")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the traffic, drift, quality and alerts of a version, or write them to a file."""
    form = _form(output)
    if window not in get_args(Window):
        raise HeadwaterError(
            "invalid_parameter",
            f"--window: {window[:20]!r} is no window",
            hint=f"one of: {', '.join(get_args(Window))}",
        )
    length = cast("Window", window)
    session = open_session(home, project, json=as_json)
    with connect_registry(session) as registry:
        name, number = _version(registry, Reference.parse(model))
        if output is not None and form in ("html", "png"):
            content = registry.report_file(name, number, form="png" if form == "png" else "html", window=length)
            _write(output, content)
            session.answer(
                {"file": str(output), "bytes": len(content)}, lambda console: console.print(shown(f"wrote {output}"))
            )
            return
        document = registry.report(name, number, window=length)
    if output is not None:
        _write(output, json.dumps(document, indent=2, ensure_ascii=False).encode())
    session.answer(document, lambda console: draw_report(console, document, sql=sql))


def draw_report(console: Console, document: Mapping[str, Any], *, sql: bool = False) -> None:
    """Write the report to a terminal: figures, fields by drift, quality, alerts, these with their ``sql`` if asked."""
    window = document["window"]
    console.print(shown(f"{document['model']} version {document['version']} in {document['environment']}"))
    console.print(f"{window['from']} to {window['to']}")
    for line in _figures(document):
        console.print(shown(line))
    fields = sorted(document["fields"], key=lambda field: (field["psi"] is None, -(field["psi"] or 0.0)))
    if fields:
        rows = [
            (
                field["name"],
                field["side"],
                *(_three(field[name]) for name in _DISTANCES),
                _percent(field["nulls"], field["rows"]),
                _percent(field["out_of_range"], field["rows"]),
                field["rows"],
            )
            for field in fields
        ]
        draw_table(console, ("field", "side", "psi", "ks", "js", "chi2 p", "null", "out of range", "rows"), rows)
    else:
        console.print("no reference yet: push the version with one, or send it 1,000 predictions")
    _draw_alerts(console, document["alerts"], sql=sql)


def _draw_alerts(console: Console, alerts: Sequence[Mapping[str, Any]], *, sql: bool) -> None:
    """Write what is beyond its limit since when; a query has lines of its own, to be copied."""
    for alert in alerts:
        about = f" of {alert['side']} {alert['field']}" if alert["field"] else ""
        now, limit = _three(alert["latest"]), _three(alert["threshold"])
        console.print(shown(f"alert: {alert['metric']}{about} is {now}, beyond {limit}, since {alert['since']}"))
        if sql and alert["rows"].get("sql"):
            for line in dedent(alert["rows"]["sql"]).strip().splitlines():
                console.print(shown(f"    {line}"), soft_wrap=True)
    if not sql and any(alert["rows"].get("sql") for alert in alerts):
        console.print("the rows behind an alert: --sql shows the queries")


def _figures(document: Mapping[str, Any]) -> Iterator[str]:
    requests = sum(minute["requests"] for minute in document["traffic"])
    errors = sum(minute["errors"] for minute in document["traffic"])
    yield f"{_many(requests, 'request')}, {errors:,} failed" if requests else "nobody asked it"
    quality = document["performance"]
    if quality and quality["outcomes"]:
        metrics = ", ".join(f"{name} {_three(value)}" for name, value in quality["metrics"].items())
        yield f"{quality['output']} by {_many(quality['outcomes'], 'outcome')}: {metrics}"
    shadow = document["shadow"]
    if shadow:
        yield f"as a shadow it agreed with version {shadow['of_version']} in {_percent(shadow['agreement'], 1)}"


def _version(registry: Registry, reference: Reference) -> tuple[str, int]:
    """Return the version that is meant: without more, the champion, or else the newest."""
    if not reference.is_precise:
        with_alias = Reference(reference.name, alias="champion")
        if "champion" in registry.model(reference.name)["aliases"]:
            reference = with_alias
    return reference.name, number_of(registry, reference)


def _form(output: Path | None) -> str:
    if output is None:
        return ""
    form = FORMS.get(output.suffix.lower())
    if form is None:
        raise HeadwaterError(
            "invalid_parameter", f"--output: {output.name!r} is no .html, .png or .json file", hint="name one of these"
        )
    return form


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        HeadwaterError: ``invalid_parameter`` where it cannot be written.
    """
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(content)
                file.close()
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except OSError:
                with suppress(OSError):
                    Path(file.name).unlink()
                raise
    except OSError as error:
        raise HeadwaterError(
            "invalid_parameter", f"--output: {path} cannot be written: {error.strerror}", hint="name another file"
        ) from error


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _percent(part: float | None, whole: float) -> str:
    return f"{part / whole * 100:.3g} %" if part is not None and whole else ""
