"""The answer of a tile: its endpoint asked as the reader, and put into the form that the page draws from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from headwater.control.catalog.data_plane import connect
from headwater.control.catalog.views import ViewAsked, Viewed
from headwater.control.console.place import Place
from headwater.control.console.viewer import viewer_of
from headwater.control.dashboards.queries import shapes_of
from headwater.core.dashboards import Board, ChartTile, DataTile, TableTile
from headwater.core.dashboards.binding import chosen, parameters_of
from headwater.core.dashboards.plot import kind_of, view_of
from headwater.core.errors import HeadwaterError

MOST_POINTS: Final = 20_000
"""A browser draws so many without making its reader wait; what is more says so."""
MOST_BYTES: Final = 24 << 20
_ZONE: Final = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")


@dataclass(frozen=True, slots=True)
class TileAnswer:
    """What a tile shows: columns as name, type and kind, rows in their order; or in what ``state`` it is instead.

    ``state`` is ``ok``, ``forbidden``, ``away`` or ``error``; of the others ``problem`` and ``hint`` say more.
    """

    state: str = "ok"
    problem: str = ""
    hint: str = ""
    columns: Sequence[tuple[str, str, str]] = ()
    rows: Sequence[Sequence[Any]] = ()
    total: int = 0
    is_cut: bool = False
    view: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    etag: str = field(default="", compare=False)
    is_known: bool = False

    def to_plain(self) -> dict[str, Any]:
        """Return it as the page takes it."""
        columns = [{"name": name, "type": type_, "kind": kind} for name, type_, kind in self.columns]
        return {
            "state": self.state, "problem": self.problem, "hint": self.hint, "columns": columns, "rows": self.rows,
            "total": self.total, "cut": self.is_cut, "view": self.view, "notes": self.notes,
        }  # fmt: skip


def ask_tile(here: Place, board: Board, tile: DataTile, given: Mapping[str, str], *, etag: str = "") -> TileAnswer:
    """Return the answer of a tile to the reader: their own grants and policies decide.

    Args:
        here: who reads, and where.
        board: whose filters there are.
        tile: whose answer is asked for.
        given: what the reader chose in the filters.
        etag: of the answer that the reader has; the same one is not sent again.
    """
    lacking = lacks(here, tile)
    if lacking is not None:
        return lacking
    try:
        parameters = bound(here, board, tile, given)
        asked = ViewAsked(parameters, max_bytes=MOST_BYTES, etag=etag)
        with connect() as services:
            viewed = services.view_file(here.env.public_id, f"endpoints/{tile.endpoint}", viewer_of(here), asked)
    except HeadwaterError as error:
        return refusal_of(error)
    return _shaped(tile, viewed)


def lacks(here: Place, tile: DataTile) -> TileAnswer | None:
    """Return the answer for a reader without the right to ask the tile's endpoint; None for one who may."""
    if here.holds("endpoint.invoke", tile.endpoint_name):
        return None
    return TileAnswer(
        "forbidden",
        f"You may not see what {tile.endpoint_name} answers.",
        f"Ask an owner of {here.org.name} for a role with endpoint.invoke on endpoint:{tile.endpoint_name}.",
    )


def bound(here: Place, board: Board, tile: DataTile, given: Mapping[str, str]) -> dict[str, str | list[str]]:
    """Return the parameters of a tile's endpoint; raises ``invalid_parameter`` for what a filter cannot be."""
    shape = shapes_of(here.env).get(tile.endpoint)
    types = shape.types if shape is not None else {}
    return parameters_of(tile, chosen(board, given), types, now=datetime.now(UTC))


def refusal_of(error: HeadwaterError) -> TileAnswer:
    """Return the answer that says why there is none."""
    state = {403: "forbidden", 503: "away"}.get(error.status, "error")
    hint = error.hint or ("the endpoint may have been archived or renamed" if error.status == 404 else "")  # noqa: PLR2004
    return TileAnswer(state, _sentence(error.detail), _sentence(hint))


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _shaped(tile: DataTile, viewed: Viewed) -> TileAnswer:
    if viewed.is_known:
        return TileAnswer(etag=viewed.etag, is_known=True)
    try:
        document = json.loads(viewed.content)
        meta, data = document["meta"], document["data"]
        columns = [(str(item["name"]), str(item["type"])) for item in meta["columns"]]
    except (ValueError, KeyError, TypeError) as error:
        return TileAnswer("away", f"The services' answer is not understood: {error}.")
    most = tile.rows if isinstance(tile, TableTile) else MOST_POINTS
    total = int(meta.get("row_count") or len(data))
    shown = _shown(tile, columns)
    return TileAnswer(
        columns=[(name, type_, kind_of(type_)) for name, type_ in shown],
        rows=_rows(data[:most], shown),
        total=total,
        is_cut=total > most or bool(meta.get("truncated")),
        view=view_of(tile, columns) if isinstance(tile, ChartTile) else None,
        notes=_notes(meta),
        etag=viewed.etag,
    )


def _shown(tile: DataTile, columns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if not isinstance(tile, TableTile) or not tile.columns:
        return columns
    types = dict(columns)
    return [(name, types[name]) for name in tile.columns if name in types]


def _rows(data: list[dict[str, Any]], columns: list[tuple[str, str]]) -> list[list[Any]]:
    readers = [(name, _READERS.get(kind_of(type_))) for name, type_ in columns]
    return [[read(row.get(name)) if read else row.get(name) for name, read in readers] for row in data]


def _number(value: Any) -> Any:
    # Exact decimals and long integers come as text; a chart measures them.
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return None


def _instant(value: Any) -> Any:
    """Return an instant as its clock shows it, without a zone: the page shows times as the data have them."""
    return _ZONE.sub("", value.replace(" ", "T")) if isinstance(value, str) else value


_READERS: Final = {"quantitative": _number, "temporal": _instant}


def _notes(meta: Mapping[str, Any]) -> list[str]:
    """Return what the reader should know of how the answer came to be."""
    notes = [
        f"Policy {policy} decides what you see of {table}." for table, policy in sorted(meta.get("policy", {}).items())
    ]
    left_out = [f"{name} ({table})" for table, names in meta.get("hidden_columns", {}).items() for name in names]
    if left_out:
        notes.append(f"Left out: {', '.join(left_out)}.")
    return notes
