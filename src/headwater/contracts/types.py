"""Logical types in the words of Arrow and DuckDB.

The physical type is always the widest, because tables cannot widen later. Delta Lake has no type for a time of day and
none for a UUID: both are stored as text, exactly as they were accepted.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from headwater.contracts.model import Contract, Field, LogicalType

_PLAIN_ARROW: Final[dict[LogicalType, pa.DataType]] = {
    LogicalType.INTEGER: pa.int64(),
    LogicalType.NUMBER: pa.float64(),
    LogicalType.BOOLEAN: pa.bool_(),
    LogicalType.STRING: pa.string(),
    LogicalType.TIMESTAMP: pa.timestamp("us", "UTC"),
    LogicalType.DATE: pa.date32(),
    LogicalType.TIME: pa.string(),
    LogicalType.UUID: pa.string(),
    LogicalType.BINARY: pa.binary(),
    LogicalType.JSON: pa.string(),
}
_PLAIN_DUCKDB: Final[dict[LogicalType, str]] = {
    LogicalType.INTEGER: "BIGINT",
    LogicalType.NUMBER: "DOUBLE",
    LogicalType.BOOLEAN: "BOOLEAN",
    LogicalType.STRING: "VARCHAR",
    LogicalType.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
    LogicalType.DATE: "DATE",
    LogicalType.TIME: "VARCHAR",
    LogicalType.UUID: "VARCHAR",
    LogicalType.BINARY: "BLOB",
    LogicalType.JSON: "VARCHAR",
}


def arrow_type(field: Field) -> pa.DataType:
    """Return the Arrow type that holds every value of ``field``."""
    match field.type:
        case LogicalType.DECIMAL:
            return pa.decimal128(field.precision, field.scale)
        case LogicalType.ARRAY:
            return pa.list_(_element(field))
        case LogicalType.MAP:
            return pa.map_(pa.string(), _element(field))
        case LogicalType.STRUCT:
            return pa.struct([arrow_field(member) for member in field.fields])
        case _:
            return _PLAIN_ARROW[field.type]


def arrow_field(field: Field) -> pa.Field:
    """Return the Arrow field of ``field``: nullable always, because tables hold rows of older contracts too."""
    return pa.field(field.name, arrow_type(field), nullable=True)


def _element(field: Field) -> pa.DataType:
    assert field.items is not None, f"{field.name}: an array or a map has items"
    return arrow_type(field.items)


def arrow_schema(contract: Contract) -> pa.Schema:
    """Return the Arrow schema of the contract's own fields, in their order."""
    return pa.schema([arrow_field(field) for field in contract.fields])


def duckdb_type(field: Field) -> str:
    """Return the DuckDB type in which a table shows ``field``."""
    match field.type:
        case LogicalType.DECIMAL:
            return f"DECIMAL({field.precision},{field.scale})"
        case LogicalType.ARRAY:
            assert field.items is not None, f"{field.name}: an array has items"
            return f"{duckdb_type(field.items)}[]"
        case LogicalType.MAP:
            assert field.items is not None, f"{field.name}: a map has items"
            return f"MAP(VARCHAR, {duckdb_type(field.items)})"
        case LogicalType.STRUCT:
            members = ", ".join(f'"{member.name}" {duckdb_type(member)}' for member in field.fields)
            return f"STRUCT({members})"
        case _:
            return _PLAIN_DUCKDB[field.type]
