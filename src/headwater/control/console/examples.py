"""An example row for a contract or a signature: values that the rules of each field allow, as far as that is simple."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from headwater.contracts.model import Contract, Field, LogicalType

_PLAIN: Final[Mapping[LogicalType, Any]] = {
    LogicalType.BOOLEAN: True,
    LogicalType.TIMESTAMP: "2026-01-31T12:00:00Z",
    LogicalType.DATE: "2026-01-31",
    LogicalType.TIME: "12:00:00",
    LogicalType.UUID: "0198c0de-0000-7000-8000-000000000000",
    LogicalType.BINARY: "aGVsbG8=",
    LogicalType.JSON: {},
    LogicalType.MAP: {},
}
MOST_FIELDS: Final = 12
"""Beyond these only required fields are shown."""


def example_row(contract: Contract) -> dict[str, Any]:
    """Return a row that the contract likely accepts."""
    return example_of(contract.fields)


def example_of(fields: Iterable[Field]) -> dict[str, Any]:
    """Return an example value for each field; of many, for those that are required."""
    every = tuple(fields)
    if len(every) > MOST_FIELDS:
        every = tuple(field for field in every if field.required) or every[:MOST_FIELDS]
    return {field.name: _example(field) for field in every}


def _example(field: Field) -> Any:
    bounds = field.constraints
    if field.has_default:
        return field.default
    if bounds.enum:
        return bounds.enum[0]
    if field.type in _MADE:
        return _MADE[field.type](field)
    return bounds.ge if bounds.ge is not None else _PLAIN[field.type]


def _number(field: Field) -> Any:
    bounds = field.constraints
    for bound, step in ((bounds.ge, 0), (bounds.gt, 1), (bounds.le, 0), (bounds.lt, -1)):
        if isinstance(bound, int | float):
            return bound + step
    return 1 if field.type is LogicalType.INTEGER else 1.5


def _text(field: Field) -> str:
    if field.constraints.pattern:
        return "…"
    return "x" * max(field.constraints.min_length or 0, 1)


def _array(field: Field) -> list[Any]:
    return [_example(field.items)] if field.items is not None and field.constraints.min_items else []


_MADE: Final[Mapping[LogicalType, Callable[[Field], Any]]] = {
    LogicalType.INTEGER: _number,
    LogicalType.NUMBER: _number,
    LogicalType.DECIMAL: lambda field: f"{0:.{field.scale}f}",
    LogicalType.STRING: _text,
    LogicalType.STRUCT: lambda field: example_of(field.fields),
    LogicalType.ARRAY: _array,
}
