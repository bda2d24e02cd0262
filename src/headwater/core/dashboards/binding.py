"""From what a reader chose in the filters to the parameters of a tile's endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

from headwater.core.dashboards.spec import Board, DataTile, Filter, FilterRef
from headwater.core.dashboards.times import parse_range
from headwater.core.errors import HeadwaterError

MAX_TEXT: Final = 2_000
_BOOLEANS: Final = frozenset({"true", "false"})


def chosen(board: Board, given: Mapping[str, str]) -> dict[str, str]:
    """Return the value of each filter as text: what is given before the default; filters without any are left out.

    An empty text takes a filter's default away. What is given for no filter is ignored.

    Raises:
        HeadwaterError: ``invalid_parameter`` naming the filter.
    """
    found = {}
    for item in board.filters:
        text = given[item.name].strip() if item.name in given else as_text(item.default)
        if text:
            check_choice(item, text)
            found[item.name] = text
    return found


def check_choice(item: Filter, text: str) -> None:
    """Raise ``invalid_parameter`` unless ``text`` is a value that the filter may have."""
    reason = ""
    if len(text) > MAX_TEXT:
        reason = f"{len(text):,} characters are too many"
    elif item.type == "time_range":
        reason = _fails(parse_range, text)
    elif item.values and text not in map(as_text, item.values):
        reason = f"{text[:60]!r} is none of {', '.join(map(as_text, item.values[:20]))}"
    elif item.type in _READERS:
        reason = "" if not _fails(_READERS[item.type], text) else f"{text[:60]!r} is no {item.type}"
    if reason:
        raise HeadwaterError("invalid_parameter", f"filter {item.title}: {reason}", extra={"path": item.name})


def parameters_of(
    tile: DataTile, values: Mapping[str, str], types: Mapping[str, str], *, now: datetime
) -> dict[str, str | list[str]]:
    """Return the parameters of a tile's endpoint as a query string holds them; a list is given several times.

    Args:
        tile: whose.
        values: of the filters, as ``chosen`` returns them; a parameter that follows a filter without one is left out.
        types: of the endpoint's parameters, by name: an end of a time range is written as the parameter takes it.
        now: what relative time ranges are relative to.
    """
    found: dict[str, str | list[str]] = {}
    for name, value in tile.parameters.items():
        if isinstance(value, tuple):
            found[name] = [as_text(item) for item in value]
        elif not isinstance(value, FilterRef):
            found[name] = as_text(value)
        elif value.name in values:
            text = values[value.name]
            if value.part:
                text = parse_range(text)(now).end(value.part, types.get(name, "timestamp"))
            found[name] = text
    return found


def as_text(value: Any) -> str:
    """Return a plain value as a query string holds it; None is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _fails(read: Any, text: str) -> str:
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""


def _boolean(text: str) -> None:
    if text not in _BOOLEANS:
        raise ValueError(text)


_READERS: Final[Mapping[str, Any]] = {
    "integer": int,
    "number": float,
    "boolean": _boolean,
    "date": date.fromisoformat,
}
