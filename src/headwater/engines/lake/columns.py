"""Which types a table has, how two schemas become one, and exact casts between them.

Delta tables can neither widen nor drop a column, so a column has the widest type of its kind from the start, and every
column may be null. A cast that would change a value is an error: the engines' own casts lose values in silence.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from headwater.core.errors import HeadwaterError

_types: Final[Any] = pa.types
MAX_DECIMAL_DIGITS: Final = 38


def table_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a table that holds rows of ``schema``; columns of nulls alone are left out."""
    fields = [pa.field(f.name, _named(f.name, f.type)) for f in schema if not _types.is_null(f.type)]
    seen: dict[str, str] = {}
    for name in (field.name for field in fields):
        if name.lower() in seen:
            other = seen[name.lower()]
            raise _misfit(name, "is there twice" if name == other else f"differs from {other!r} only in case")
        seen[name.lower()] = name
    return pa.schema(fields)


def merged(table: pa.Schema, rows: pa.Schema) -> pa.Schema:
    """Return the schema that holds both: the table's columns first, then those only the rows have.

    Raises:
        HeadwaterError: ``schema_mismatch`` naming the column whose type differs, or whose name differs only in case.
    """
    fields = {field.name: field for field in table}
    for field in table_schema(rows):
        known = fields.get(field.name)
        fields[field.name] = field if known is None else pa.field(field.name, _join(field.name, known.type, field.type))
    return table_schema(pa.schema(list(fields.values())))


def conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return ``rows`` in exactly ``schema``: columns they lack are null, no value changes.

    Raises:
        HeadwaterError: ``schema_mismatch`` naming the column that cannot be held exactly.
    """
    columns = []
    for field in schema:
        index = rows.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(rows.num_rows, field.type))
            continue
        column = rows.column(index)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowException as error:
            raise _misfit(field.name, str(error)) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _named(name: str, kind: pa.DataType) -> pa.DataType:
    try:
        return _widest(kind)
    except TypeError as error:
        raise _misfit(name, str(error)) from error


def _widest(kind: pa.DataType) -> pa.DataType:
    """Return the type a table column has for values of ``kind``."""
    for is_kind, wide in _SCALARS:
        if is_kind(kind):
            return wide
    if _types.is_dictionary(kind):
        return _widest(kind.value_type)
    if _types.is_decimal(kind) and kind.precision <= MAX_DECIMAL_DIGITS:
        return pa.decimal128(kind.precision, kind.scale)
    if _types.is_list(kind) or _types.is_large_list(kind) or _types.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", _widest(kind.value_type)))
    if _types.is_map(kind):
        return pa.map_(_widest(kind.key_type), _widest(kind.item_type))
    if _types.is_struct(kind):
        return pa.struct([pa.field(member.name, _widest(member.type)) for member in kind])
    raise TypeError(f"a table cannot hold {kind}")


def _join(name: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Return the table type that holds both table types; only structs, also inside lists and maps, may grow."""
    if left == right:
        return left
    if _types.is_struct(left) and _types.is_struct(right):
        members = {member.name: member.type for member in left}
        for member in right:
            known = members.get(member.name)
            path = f"{name}.{member.name}"
            members[member.name] = member.type if known is None else _join(path, known, member.type)
        return pa.struct([pa.field(member, kind) for member, kind in members.items()])
    if _types.is_list(left) and _types.is_list(right):
        return pa.list_(pa.field("element", _join(f"{name}[]", left.value_type, right.value_type)))
    if _types.is_map(left) and _types.is_map(right) and left.key_type == right.key_type:
        return pa.map_(left.key_type, _join(f"{name}[]", left.item_type, right.item_type))
    raise _misfit(name, f"is {left} in the table and {right} in the rows")


def _misfit(name: str, problem: str) -> HeadwaterError:
    return HeadwaterError(
        "schema_mismatch",
        f"column {name!r}: {problem}",
        hint="give the column another name: a table's columns keep their type",
    )


def _is_small_integer(kind: pa.DataType) -> bool:
    return bool(_types.is_integer(kind)) and kind != pa.uint64()


_SCALARS: Final = (
    (_is_small_integer, pa.int64()),
    (_types.is_floating, pa.float64()),
    (_types.is_boolean, pa.bool_()),
    (_types.is_string, pa.string()),
    (_types.is_large_string, pa.string()),
    (_types.is_binary, pa.binary()),
    (_types.is_large_binary, pa.binary()),
    (_types.is_fixed_size_binary, pa.binary()),
    (_types.is_date, pa.date32()),
    # The format has no time of day: it is kept as ISO 8601 text, which every reader can cast back.
    (_types.is_time, pa.string()),
    (_types.is_null, pa.string()),
    (lambda kind: bool(_types.is_timestamp(kind)) and kind.tz is not None, pa.timestamp("us", "UTC")),
)
