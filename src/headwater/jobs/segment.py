"""Blocks of the journal as rows of a table: one Arrow table with the system columns after the blocks' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.engines.journal.protocol import Span, StoredBlock
from headwater.engines.lake.columns import conformed, merged, table_schema

PARTITION: Final = 0
PARTITION_SHIFT: Final = 44
MAX_DECODED_BYTES: Final = 256 << 20  # payloads are compressed: a few kilobytes may well hold megabytes of rows

_ONE_THREAD: Final = pa.ipc.IpcReadOptions(use_threads=False)

SYSTEM_COLUMNS: Final = pa.schema(
    [
        ("_hw_seq", pa.int64()),
        ("_hw_received_at", pa.timestamp("us", "UTC")),
        ("_hw_receipt", pa.string()),
        ("_hw_contract", pa.string()),
    ]
)


def build_segment(blocks: Sequence[StoredBlock], *, max_bytes: int = MAX_DECODED_BYTES) -> tuple[pa.Table, int]:
    """Return the rows of consecutive blocks of a stream and how many of the blocks that is.

    Blocks of several contract versions share a segment when one schema can hold them; it ends before the first block
    whose columns contradict those before it, or with which the rows would take more than ``max_bytes`` of memory.
    Blocks are never split, so a request's rows stay together.

    Raises:
        ValueError: a block does not hold the rows that the journal says.
        HeadwaterError: ``schema_mismatch`` when the very first block cannot be a table.
    """
    tables = [_decode(blocks[0])]
    schema = table_schema(tables[0].schema)
    same = True
    size = tables[0].nbytes
    for block in blocks[1:]:
        rows = _decode(block)
        size += rows.nbytes
        if size > max_bytes:
            break
        if rows.schema != tables[0].schema:
            same = False
            try:
                schema = merged(schema, rows.schema)
            except HeadwaterError:
                break
        tables.append(rows)
    own = pa.concat_tables(tables if same else [conformed(rows, schema) for rows in tables]).combine_chunks()
    return _with_system_columns(own, blocks[: len(tables)]), len(tables)


def _decode(block: StoredBlock) -> pa.Table:
    # Most blocks are small: handing their buffers to threads costs more than it gains.
    rows = pa.ipc.open_stream(block.block.payload, options=_ONE_THREAD).read_all()
    if rows.num_rows != block.block.rows:
        raise ValueError(f"block {block.id} holds {rows.num_rows} rows, the journal says {block.block.rows}")
    taken = set(rows.schema.names) & set(SYSTEM_COLUMNS.names)
    if taken:
        raise ValueError(f"block {block.id} has columns that are the system's own: {', '.join(sorted(taken))}")
    return rows


def _with_system_columns(rows: pa.Table, blocks: Sequence[StoredBlock]) -> pa.Table:
    spans = [span for block in blocks for span in block.block.spans]
    seqs = [np.arange(block.first_seq, block.first_seq + block.block.rows, dtype=np.int64) for block in blocks]
    lengths = [span.rows for span in spans]
    received = np.repeat(np.array([span.received_at_us for span in spans], dtype=np.int64), lengths)
    columns = (
        pa.array(np.concatenate(seqs) | PARTITION << PARTITION_SHIFT),
        pa.array(received).cast(pa.timestamp("us", "UTC")),
        *_texts(spans, lengths),
    )
    for field, column in zip(SYSTEM_COLUMNS, columns, strict=True):
        rows = rows.append_column(field, column)
    return rows


def _texts(spans: Sequence[Span], lengths: Sequence[int]) -> tuple[pa.Array, pa.Array]:
    """Return receipt and contract version of every row."""
    which = pa.array(np.repeat(np.arange(len(spans)), lengths))
    receipts = pa.array([span.receipt_id for span in spans], pa.string())
    versions = pa.array([span.contract_version for span in spans], pa.string())
    return receipts.take(which), versions.take(which)
