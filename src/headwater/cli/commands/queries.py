"""``headwater queries``: what the queries of an environment cost."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from rich.console import Console

from headwater.cli.connect import require_control
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table, shown

app = typer.Typer(add_completion=False, no_args_is_help=True, help="See what queries cost.")
_ENDPOINT: Final = ("endpoint", "answers", "seconds", "mean ms", "query p95 ms", "cached %", "failed", "MB read")
_QUERY: Final = ("query", "by", "from", "total ms", "waited ms", "ran ms", "rows", "at")


@app.callback()
def queries() -> None:
    """See what queries cost."""


@app.command()
def slow(
    *,
    day: Annotated[str, typer.Option(help="A day, as 2026-01-31, in UTC; default: today")] = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the endpoints that took most time in a day, and the slowest single queries."""
    session = open_session(home, project, json=as_json)
    target = session.settings.target
    path = f"/organizations/{target.organization}/projects/{target.project}/environments/{target.environment}"
    with require_control(session) as control:
        report = control.request("GET", f"{path}/queries/slow" + (f"?day={day}" if day else ""))
    session.answer(report, lambda console: _draw(console, report))


def _draw(console: Console, report: dict[str, Any]) -> None:
    if not report["endpoints"]:
        console.print(f"nothing was asked on {report['day']}")
        return
    draw_table(console, _ENDPOINT, map(_endpoint_row, report["endpoints"]))
    draw_table(console, _QUERY, map(_query_row, report["slowest"][:20]))


def _endpoint_row(one: dict[str, Any]) -> tuple[object, ...]:
    p95 = one["p95_query_ms"]
    return (
        shown(one["name"] or one["kind"]), one["answers"], round(one["total_ms"] / 1e3, 1), round(one["mean_ms"], 1),
        None if p95 is None else round(p95, 1), round(one["cached"] * 100), one["failed"],
        round(one["bytes_scanned"] / 1e6, 1),
    )  # fmt: skip


def _query_row(one: dict[str, Any]) -> tuple[object, ...]:
    return (
        shown(one["name"] or one["kind"]), shown(one["principal_label"]), one["code"] or one["source"],
        round(one["total_ms"], 1), round(one["queue_ms"], 1), round(one["query_ms"], 1), one["rows"],
        one["answered_at"],
    )  # fmt: skip
