"""``headwater keys``: API keys, whether or not the system runs."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console

from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import open_session
from headwater.cli.tables import draw_table
from headwater.core.errors import HeadwaterError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create, list and revoke API keys.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for; its service account is called so")],
    *,
    role: Annotated[str, typer.Option(help="Role of the service account: producer, consumer, developer, owner, …")],
    scope: Annotated[
        list[str] | None, typer.Option(help="Limit the key to this, such as dataset.ingest:flights (repeatable)")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; 365 unless given")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="Bound its queries, such as requests_per_second=20 (repeatable)")
    ] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and show it: once, it is stored hashed."""
    session = open_session(home, project, json=as_json)
    bootstrap = importlib.import_module("headwater.control.bootstrap")
    limits = _read_limits(limit or [])
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    made = bootstrap.create_key(
        session.settings, name, role, scopes=tuple(scope or ()), expires_at=expires_at, limits=limits
    )

    target = session.settings.target

    def draw(console: Console) -> None:
        console.print(made.key)
        place = f"{target.organization}/{target.project}/{target.environment}"
        console.print(f"for {made.principal} ({made.role}) in {place}, until {made.expires_at:%Y-%m-%d}")
        console.print("It is not shown again.")

    session.answer(asdict(made), draw)


@app.command("list")
def list_keys(*, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the keys of the environment, never their secrets."""
    session = open_session(home, project, json=as_json)
    keys: list[dict[str, Any]] = importlib.import_module("headwater.cli.keyring").list_keys(session.settings)

    def draw(console: Console) -> None:
        columns = ("id", "key", "name", "principal", "expires", "state")
        rows = [
            (key["id"], f"hw_{key['prefix']}_…", key["name"], key["principal"], key["expires_at"][:10], key["state"])
            for key in keys
        ]
        draw_table(console, columns, rows)

    session.answer({"keys": keys}, draw)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id (key_…), its prefix (8 characters) or the key itself")],
    *,
    reason: Annotated[str, typer.Option(help="Why, for the audit log")] = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a key for good; services refuse it within a second."""
    session = open_session(home, project, json=as_json)
    found: dict[str, Any] = importlib.import_module("headwater.cli.keyring").revoke(session.settings, key, reason)
    session.answer(found, lambda console: console.print(f"{found['name']} (hw_{found['prefix']}_…) is revoked"))


def _read_limits(texts: list[str]) -> dict[str, float]:
    """Return ``name=number`` as a mapping; control knows the names."""
    limits: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            limits[name] = float(number)
        except ValueError:
            raise HeadwaterError(
                "invalid_parameter", f"--limit {text!r} is no name and number", hint="write requests_per_second=20"
            ) from None
    return limits
