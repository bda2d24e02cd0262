"""Blocks as rows: system columns, mixed contract versions, and blocks that are not what the journal says."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from tests.builders.journal import STREAM, ipc

from headwater.engines.journal.protocol import Block, Span, StoredBlock
from headwater.jobs.segment import SYSTEM_COLUMNS, build_segment


def stored(table: pa.Table, first_seq: int = 1, *, spans: tuple[Span, ...] = (), identity: int = 1) -> StoredBlock:
    spans = spans or (Span("rcp_1", table.num_rows, 0, "1.0"),)
    return StoredBlock(identity, first_seq, Block(STREAM, ipc(table), sum(span.rows for span in spans), spans))


def test_system_columns_follow_the_blocks_own() -> None:
    spans = (Span("rcp_a", 2, 1_000_000, "1.0"), Span("rcp_b", 1, 2_000_001, "1.1"))
    rows, taken = build_segment([stored(pa.table({"id": [7, 8, 9]}), 41, spans=spans)])
    assert taken == 1
    assert rows.schema.names == ["id", "_hw_seq", "_hw_received_at", "_hw_receipt", "_hw_contract"]
    assert rows.to_pylist()[2] == {
        "id": 9,
        "_hw_seq": 43,
        "_hw_received_at": datetime(1970, 1, 1, 0, 0, 2, 1, tzinfo=UTC),
        "_hw_receipt": "rcp_b",
        "_hw_contract": "1.1",
    }
    assert rows.column("_hw_receipt").to_pylist() == ["rcp_a", "rcp_a", "rcp_b"]


def test_contract_versions_share_a_segment() -> None:
    old = stored(pa.table({"id": [1], "gone": ["x"]}), 1)
    new = stored(pa.table({"id": [2], "s": [{"a": 1}]}), 2)
    newer = stored(pa.table({"id": [3], "s": [{"b": 2}]}), 3)
    rows, taken = build_segment([old, new, newer])
    assert taken == 3
    assert [(row["id"], row["gone"], row["s"]) for row in rows.to_pylist()] == [
        (1, "x", None),
        (2, None, {"a": 1, "b": None}),
        (3, None, {"a": None, "b": 2}),
    ]


def test_a_segment_ends_before_columns_that_contradict_it() -> None:
    blocks = [stored(pa.table({"id": [1]}), 1), stored(pa.table({"id": ["x"]}), 2), stored(pa.table({"id": [3]}), 3)]
    rows, taken = build_segment(blocks)
    assert (rows.num_rows, taken) == (1, 1)


def test_a_compressed_block_of_several_batches_is_read_whole() -> None:
    table = pa.table({"id": range(1_000)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, max_chunksize=100)
    block = Block(STREAM, sink.getvalue().to_pybytes(), 1_000, (Span("rcp_1", 1_000, 0, "1.0"),))
    rows, _ = build_segment([StoredBlock(1, 1, block)])
    assert rows.column("id").to_pylist() == list(range(1_000))


def test_a_block_with_other_rows_than_the_journal_says_is_refused() -> None:
    block = stored(pa.table({"id": [1, 2]}), spans=(Span("rcp_1", 3, 0, "1.0"),))
    with pytest.raises(ValueError, match="block 1 holds 2 rows, the journal says 3"):
        build_segment([block])


def test_a_block_with_system_columns_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="_hw_seq"):
        build_segment([stored(pa.table({"_hw_seq": [1]}))])


def test_a_segment_ends_before_its_rows_take_too_much_memory_but_always_has_a_block() -> None:
    large = pa.table({"text": ["x" * (1 << 20)] * 4})
    blocks = [stored(large, 1 + 4 * number, identity=number + 1) for number in range(5)]
    assert build_segment(blocks, max_bytes=9 << 20)[1] == 2
    rows, taken = build_segment(blocks, max_bytes=1 << 20)
    assert (rows.num_rows, taken) == (4, 1)
    assert build_segment(blocks)[1] == 5


def test_the_system_columns_are_those_that_sql_knows() -> None:
    from headwater.engines.query.tables import SYSTEM_COLUMNS as SHOWN

    assert SHOWN.equals(SYSTEM_COLUMNS)
