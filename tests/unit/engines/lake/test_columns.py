"""Table types, merged schemas and exact casts."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pyarrow as pa
import pytest

from headwater.core.errors import HeadwaterError
from headwater.engines.lake.columns import conformed, merged, table_schema


def schema_of(*kinds: pa.DataType) -> pa.Schema:
    return pa.schema([(f"c{n}", kind) for n, kind in enumerate(kinds)])


@pytest.mark.parametrize(
    ("kind", "wide"),
    [
        (pa.int8(), pa.int64()),
        (pa.uint32(), pa.int64()),
        (pa.float32(), pa.float64()),
        (pa.large_string(), pa.string()),
        (pa.binary(16), pa.binary()),
        (pa.dictionary(pa.int32(), pa.large_string()), pa.string()),
        (pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("us", "UTC")),
        (pa.date64(), pa.date32()),
        (pa.time64("us"), pa.string()),
        (pa.decimal128(12, 2), pa.decimal128(12, 2)),
        (pa.large_list(pa.int16()), pa.list_(pa.int64())),
        (pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.int64())),
        (pa.struct([("x", pa.int8())]), pa.struct([("x", pa.int64())])),
    ],
)
def test_a_column_has_the_widest_type_of_its_kind(kind: pa.DataType, wide: pa.DataType) -> None:
    assert table_schema(schema_of(kind)).types == [wide]


@pytest.mark.parametrize("kind", [pa.uint64(), pa.timestamp("us"), pa.duration("s"), pa.decimal256(50, 2)])
def test_what_no_table_can_hold_is_refused_by_name(kind: pa.DataType) -> None:
    with pytest.raises(HeadwaterError, match="column 'c0': a table cannot hold") as caught:
        table_schema(schema_of(kind))
    assert caught.value.code == "schema_mismatch"


def test_every_column_may_be_null() -> None:
    strict = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    assert table_schema(strict).field("a").nullable


def test_columns_of_nulls_alone_wait_for_a_type() -> None:
    assert table_schema(schema_of(pa.null(), pa.int64())).names == ["c1"]


def test_new_columns_come_after_the_tables_own() -> None:
    table = pa.schema([("b", pa.int64()), ("_hw_seq", pa.int64())])
    assert merged(table, pa.schema([("a", pa.int8()), ("b", pa.int8())])).names == ["b", "_hw_seq", "a"]


def test_nested_members_are_joined() -> None:
    left = pa.schema([("m", pa.map_(pa.string(), pa.list_(pa.struct([("x", pa.int64())]))))])
    right = pa.schema([("m", pa.map_(pa.string(), pa.list_(pa.struct([("y", pa.string())]))))])
    both = pa.struct([("x", pa.int64()), ("y", pa.string())])
    assert merged(left, right).types == [pa.map_(pa.string(), pa.list_(both))]


def test_a_contradiction_names_the_member() -> None:
    left, right = (pa.schema([("s", pa.list_(pa.struct([("x", kind)])))]) for kind in (pa.int64(), pa.string()))
    with pytest.raises(HeadwaterError, match=r"column 's\[\]\.x': is int64 in the table and string in the rows"):
        merged(left, right)


def test_decimals_do_not_grow() -> None:
    with pytest.raises(HeadwaterError, match=r"decimal128\(10, 2\) in the table"):
        merged(schema_of(pa.decimal128(10, 2)), schema_of(pa.decimal128(12, 2)))


def test_conforming_keeps_every_value() -> None:
    at = datetime(2013, 3, 10, 6, 59, 59, 1_000, tzinfo=UTC)
    rows = pa.table(
        {
            "n": pa.array([1, None], pa.int8()),
            "t": pa.array(["a", None]).dictionary_encode(),
            "at": pa.array([at, None], pa.timestamp("ms", "UTC")),
            "clock": pa.array([time(23, 59, 59, 1), None], pa.time64("us")),
            "none": pa.nulls(2),
        }
    )
    schema = merged(table_schema(rows.schema), pa.schema([("new", pa.string())]))
    assert conformed(rows, schema).to_pylist() == [
        {"n": 1, "t": "a", "at": at, "clock": "23:59:59.000001", "new": None},
        dict.fromkeys(schema.names),
    ]


def test_an_integer_that_no_float_holds_is_refused() -> None:
    with pytest.raises(HeadwaterError, match="column 'c0'"):
        conformed(pa.table({"c0": [2**53 + 1]}), schema_of(pa.float64()))
