"""The contract of an endpoint's result: whether a query keeps it, and what breaks those who read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headwater.core.endpoints import ColumnSpec
from headwater.engines.query.protocol import Column
from headwater.engines.query.result_types import fits


def contract_faults(declared: Sequence[ColumnSpec], columns: Sequence[Column]) -> Iterator[tuple[str, str]]:
    """Return where a result is not what a file declares, and how: path and message."""
    found = {column.name: column.type for column in columns}
    for column in declared:
        actual = found.get(column.name)
        if actual is None:
            yield f"columns.{column.name}", f"the SQL answers no such column; it answers: {', '.join(found)}"
        elif not fits(column.type, actual):
            yield f"columns.{column.name}", f"it is declared {column.type}, and the SQL answers {actual}"
    names = [column.name for column in declared]
    for name in [name for name in found if name not in names]:
        yield "columns", f"the SQL answers {name} {found[name]}, which is not declared"
    if set(names) == set(found) and names != list(found):
        yield "columns", f"the SQL answers them in the order {', '.join(found)}"


def breaking_changes(before: Sequence[ColumnSpec], columns: Sequence[Column]) -> list[str]:
    """Return what of an earlier result a new one does not keep, one line for each column."""
    found = {column.name: column.type for column in columns}
    changes = []
    for column in before:
        actual = found.get(column.name)
        if actual is None:
            changes.append(f"- {column.name} {column.type}: removed")
        elif not fits(column.type, actual):
            changes.append(f"~ {column.name} {column.type}: now {actual}")
    return changes


def all_changes(before: Sequence[ColumnSpec], columns: Sequence[Column]) -> list[str]:
    """Return the breaking changes, and the columns that are new."""
    known = {column.name for column in before}
    added = [f"+ {column.name} {column.type}" for column in columns if column.name not in known]
    return [*breaking_changes(before, columns), *added]


def stored_columns(spec: Mapping[str, Any]) -> tuple[ColumnSpec, ...]:
    """Return the columns that a revision holds; none for one that is older than contracts of results."""
    return tuple(ColumnSpec.model_validate(item) for item in spec.get("columns", ()))


def inferred(columns: Sequence[Column]) -> tuple[ColumnSpec, ...]:
    """Return the contract that is inferred from what a query answers."""
    return tuple(ColumnSpec(name=column.name, type=column.type) for column in columns)
