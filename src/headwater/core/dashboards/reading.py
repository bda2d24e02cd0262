"""Reading a dashboard from plain data, with every fault named by its tile and place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from headwater.core.dashboards.spec import Board, DataTile, FilterRef
from headwater.core.errors import HeadwaterError

MAX_BYTES: Final = 256_000
LISTED: Final = 50
_KINDS: Final = frozenset({"chart", "table", "number", "text"})
_ENDS: Final = ("from", "to")


def parse_board(data: Any) -> Board:
    """Return the dashboard that plain data describe.

    Raises:
        HeadwaterError: ``dashboard_invalid``; ``errors`` lists every fault as ``path`` and ``message``, where a path is
            such as ``tiles[2] (delays).plot.x``.
    """
    _check_size(data)
    try:
        board = Board.model_validate(data)
    except ValidationError as error:
        raise invalid(_listed(error, data)) from error
    faults = list(_faults(board))
    if faults:
        raise invalid(faults)
    return board


def to_plain(board: Board) -> dict[str, Any]:
    """Return a dashboard as plain data: what is left at its default is left out."""
    plain = board.model_dump(mode="json", exclude_defaults=True)
    tiles = []
    for tile, shown in zip(board.tiles, plain.get("tiles", ()), strict=True):
        tiles.append({"name": tile.name, "kind": tile.kind, **shown})
    return {"title": board.title, **plain, "tiles": tiles}


def invalid(faults: Iterable[tuple[str, str]]) -> HeadwaterError:
    """Return the error about faults, each a place and what is wrong there."""
    found = list(faults)
    path, message = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    errors = [{"path": where, "message": what} for where, what in found[:LISTED]]
    return HeadwaterError(
        "dashboard_invalid", f"{path}: {message}{more}" if path else f"{message}{more}", extra={"errors": errors}
    )


def place(at: int, name: str, member: str = "") -> str:
    """Return how a fault names a tile: by where it stands and by its name."""
    return f"tiles[{at}] ({name})" + (f".{member}" if member else "")


def _check_size(data: Any) -> None:
    if not isinstance(data, Mapping):
        raise invalid([("", "a dashboard is a mapping with `title` and `tiles`")])
    try:
        size = len(json.dumps(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise invalid([("", f"it is no plain data: {error}")]) from error
    if size > MAX_BYTES:
        raise invalid([("", f"it has {size:,} characters; {MAX_BYTES:,} are the most")])


def _listed(error: ValidationError, data: Any) -> Iterator[tuple[str, str]]:
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "union_tag_not_found":
            message = "say which `kind` of tile it is: chart, table, number or text"
        elif item["type"] == "union_tag_invalid":
            message = "there is no such kind of tile; it is chart, table, number or text"
        elif item["type"] == "extra_forbidden":
            message = "there is no such member"
        elif item["type"] == "string_pattern_mismatch":
            message = f"{str(item['input'])[:60]!r} is not of the form {item['ctx']['pattern']}"
        yield _path(item["loc"], data), message


def _path(parts: tuple[int | str, ...], data: Any) -> str:
    path = ""
    for at, part in enumerate(parts):
        # Pydantic names the kind of a tile, and the type within a union, as if they were members.
        if at == 2 and parts[0] == "tiles" and part in _KINDS:  # noqa: PLR2004 - tiles, number, kind
            continue
        if isinstance(part, str) and (part in ("FilterRef", "str", "bool", "int", "float") or part.endswith("]")):
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
        if at == 1 and parts[0] == "tiles":
            path += _name_of(data, part)
    return path


def _name_of(data: Any, at: Any) -> str:
    try:
        name = data["tiles"][at]["name"]
    except (KeyError, IndexError, TypeError):
        return ""
    return f" ({name[:60]})" if isinstance(name, str) else ""


def _faults(board: Board) -> Iterator[tuple[str, str]]:
    """Yield what is wrong between the parts of a dashboard."""
    for what, names in (("filters", [item.name for item in board.filters]), ("tiles", [t.name for t in board.tiles])):
        for name, count in Counter(names).items():
            if count > 1:
                yield what, f"{name!r} is the name of {count} of them; names are unique"
    for at, tile in enumerate(board.tiles):
        if not isinstance(tile, DataTile):
            continue
        for parameter, reference in tile.references():
            fault = _reference_fault(board, reference)
            if fault:
                yield place(at, tile.name, f"parameters.{parameter}"), fault
        if tile.kind == "chart" and (tile.plot is None) == (tile.vega is None):
            yield place(at, tile.name), "a chart has either a `plot` or a `vega`"
        if tile.kind == "chart" and tile.plot and tile.plot.mark == "heatmap" and not tile.plot.colour:
            yield place(at, tile.name, "plot.colour"), "a heat map needs a column for its colour"


def _reference_fault(board: Board, reference: FilterRef) -> str:
    found = next((item for item in board.filters if item.name == reference.name), None)
    if found is None:
        names = ", ".join(item.name for item in board.filters) or "none yet"
        return f"there is no filter {reference.name!r}; there are: {names}"
    if found.type == "time_range" and reference.part not in _ENDS:
        return f"{found.name} is a time range; say {found.name}.from or {found.name}.to"
    if found.type != "time_range" and reference.part:
        return f"{found.name} is no time range; say {found.name}"
    return ""
