"""Typed rows of a contract into record batches: one builder a field, structs built from their members."""

from __future__ import annotations

import keyword
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from headwater.contracts import columns, textcolumns
from headwater.contracts.bytechecks import JsonCheck
from headwater.contracts.checks import DecimalCheck, NumberCheck, ValueCheck
from headwater.contracts.columns import ArrayColumn, Column, Doubts, Indices, MapColumn
from headwater.contracts.record import ArrayCheck, MapCheck, StructCheck
from headwater.contracts.textchecks import DateCheck, StringCheck, TimeCheck, TimestampCheck, UuidCheck

CHUNK_ROWS: Final = 1_024
"""So many rows are decoded and built at a time: they stay in the processor's cache."""

_COLUMNS: Final[dict[type[ValueCheck], Callable[[Any], Column]]] = {
    NumberCheck: columns.NumberColumn,
    DecimalCheck: columns.DecimalColumn,
    JsonCheck: columns.JsonColumn,
    UuidCheck: textcolumns.UuidColumn,
    DateCheck: textcolumns.DateColumn,
    TimeCheck: textcolumns.TimeColumn,
    TimestampCheck: textcolumns.TimestampColumn,
}


def build_column(check: ValueCheck) -> Column:
    """Return the builder that belongs to an exact check."""
    if isinstance(check, StructCheck):
        return StructColumn(check)
    if isinstance(check, ArrayCheck):
        return ArrayColumn(check, build_column(check.item))
    if isinstance(check, MapCheck):
        return MapColumn(check, build_column(check.item))
    if isinstance(check, StringCheck) and check.patterns:
        return textcolumns.StringColumn(check)
    return _COLUMNS.get(type(check), Column)(check)


class StructColumn(Column):
    """Structs: a column a member, put side by side."""

    is_plain = False

    def __init__(self, check: StructCheck) -> None:
        """Prepare for the members of ``check``."""
        super().__init__(check)
        self.raw_type = None
        self._absent = _absent_row(check)
        self._members = [(build_column(member.check), members_getter(member.name)) for member in check.members]
        raw = {
            member.name: column.raw_type
            for member, (column, _) in zip(check.members, self._members, strict=True)
            if column.raw_type is not None
        }
        self._raw_type = pa.struct(raw)
        self._raw_getter = tuples_getter(list(raw))
        self._fields = list(self.type)

    def build(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> pa.Array:
        """Return structs."""
        if all(values):
            return pa.StructArray.from_arrays(self.build_members(values, owners, doubts), fields=self._fields)
        absent = np.fromiter((value is None for value in values), dtype=bool, count=len(values))
        filled = [self._absent if value is None else value for value in values]
        ghosts = Doubts()
        arrays = self.build_members(filled, None, ghosts)
        found = ghosts.rows()
        doubts.add(found[~absent[found]], owners)
        return pa.StructArray.from_arrays(arrays, fields=self._fields, mask=pa.array(absent))

    def build_members(self, values: Sequence[Any], owners: Indices | None, doubts: Doubts) -> list[pa.Array]:
        """Return one array a member; Arrow reads all that it can at once, which takes half the time."""
        read = iter(pa.array(self._raw_getter(values), self._raw_type).flatten())
        arrays: list[pa.Array] = []
        for column, getter in self._members:
            if column.raw_type is None:
                array = column.build(getter(values), owners, doubts)
            else:
                array = next(read)
                if not column.is_plain:
                    array = column.refine(getter(values), array, owners, doubts)
            arrays.append(array)
        return arrays


def members_getter(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function that takes one member out of every struct.

    Compiled code reads a member in half the time of ``attrgetter``, and this is a quarter of all the work.
    """
    if _is_word(name):
        getter: Callable[[Sequence[Any]], list[Any]] = eval(f"lambda rows: [row.{name} for row in rows]", {})  # noqa: S307
        return getter
    attribute = operator.attrgetter(name)
    return lambda rows: list(map(attribute, rows))


def tuples_getter(names: Sequence[str]) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function that takes some members out of every struct, as a tuple."""
    if all(map(_is_word, names)):
        members = "".join(f"row.{name}," for name in names)
        getter: Callable[[Sequence[Any]], list[Any]] = eval(f"lambda rows: [({members}) for row in rows]", {})  # noqa: S307
        return getter
    return lambda rows: [tuple(getattr(row, name) for name in names) for row in rows]


def _is_word(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _absent_row(check: StructCheck) -> Any:
    return check.type(**dict.fromkeys((member.name for member in check.members), None))


@dataclass(frozen=True, slots=True)
class Built:
    """Typed rows as one array a field, and the rows that the columns doubt."""

    size: int
    arrays: list[pa.Array]
    doubted: Indices


class RowColumns:
    """The columns of a contract."""

    def __init__(self, check: StructCheck) -> None:
        """Prepare for rows of ``check``."""
        self._columns = StructColumn(check)

    def build(self, rows: Sequence[Any]) -> Built:
        """Return at most ``CHUNK_ROWS`` typed rows as arrays."""
        doubts = Doubts()
        arrays = self._columns.build_members(rows, None, doubts)
        return Built(len(rows), arrays, doubts.rows())
