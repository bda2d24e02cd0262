"""Whether a dashboard fits the endpoints that there are: parameters, their types, and columns where they are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headwater.core.dashboards.reading import place
from headwater.core.dashboards.spec import Board, DataTile, Filter, FilterRef
from headwater.core.snapshot import ParameterSpec

_TAKES: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"string"}),
    "integer": frozenset({"integer", "number", "decimal"}),
    "number": frozenset({"number", "decimal"}),
    "boolean": frozenset({"boolean"}),
    "date": frozenset({"date", "timestamp"}),
    "time_range": frozenset({"date", "timestamp"}),
}
"""By the type of a filter, the parameters that can follow it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of an endpoint: its parameters, and its columns (name and type), empty where nobody knows."""

    parameters: tuple[ParameterSpec, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def types(self) -> dict[str, str]:
        """Return the types of its parameters."""
        return {item.name: item.type for item in self.parameters}


def misfits(board: Board, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, str]]:
    """Yield where a dashboard does not fit, as place and reason. ``shapes`` are by label: ``daily``, ``daily@2``."""
    filters = {item.name: item for item in board.filters}
    for at, tile in enumerate(board.tiles):
        if not isinstance(tile, DataTile):
            continue
        shape = shapes.get(tile.endpoint)
        if shape is None:
            known = ", ".join(sorted(name for name in shapes if "@" not in name)) or "none yet"
            yield place(at, tile.name, "endpoint"), f"there is no endpoint {tile.endpoint!r}; there are: {known}"
            continue
        for member, reason in _tile_misfits(tile, shape, filters):
            yield place(at, tile.name, member), reason


def _tile_misfits(tile: DataTile, shape: Shape, filters: Mapping[str, Filter]) -> Iterator[tuple[str, str]]:
    parameters = {item.name: item for item in shape.parameters}
    wrong: set[str] = set()
    for name, value in tile.parameters.items():
        spec = parameters.get(name)
        if spec is None:
            known = ", ".join(parameters) or "none"
            yield f"parameters.{name}", f"{tile.endpoint} has no such parameter; it has: {known}"
        else:
            reason = _value_misfit(spec, value, filters)
            if reason:
                wrong.add(name)
                yield f"parameters.{name}", reason
    for spec in shape.parameters:
        if spec.required and spec.name not in wrong and not _always_given(tile.parameters.get(spec.name), filters):
            yield (
                f"parameters.{spec.name}",
                f"{tile.endpoint} always needs {spec.name}; give a value, or a filter with a default",
            )
    columns = [name for name, _ in shape.columns]
    for member, column in tile.shown_columns():
        if columns and column not in columns:
            yield member, f"{tile.endpoint} answers no column {column!r}; it answers: {', '.join(columns)}"


def _value_misfit(spec: ParameterSpec, value: Any, filters: Mapping[str, Filter]) -> str:
    if isinstance(value, FilterRef):
        followed = filters[value.name]
        if spec.type not in _TAKES[followed.type]:
            return f"it is a {spec.type}, and filter {followed.name} a {followed.type.replace('_', ' ')}"
        return ""
    if isinstance(value, tuple):
        return "" if getattr(spec, "is_list", False) else "it takes one value, no list"
    if spec.values and value not in spec.values and str(value) not in map(str, spec.values):
        return f"{str(value)[:60]!r} is none of {', '.join(map(str, spec.values[:20]))}"
    return ""


def _always_given(value: Any, filters: Mapping[str, Filter]) -> bool:
    if isinstance(value, FilterRef):
        return filters[value.name].default is not None
    return value is not None
