"""Blocks, receipts and records with as little said as a test needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa

from headwater.engines.journal.protocol import Block, Counts, IdempotencyRecord, Receipt, Span, StoredBlock

STREAM = "env_1/flights"


def ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def make_block(
    ids: Sequence[int] = (1,),
    *,
    stream: str = STREAM,
    receipt: str = "rcp_1",
    received_at_us: int = 1_000_000,
    version: str = "1.0",
) -> Block:
    """Return a block with one column, ``id``, in one span."""
    span = Span(receipt, len(ids), received_at_us, version)
    return Block(stream, ipc(pa.table({"id": pa.array(ids, pa.int64())})), len(ids), (span,))


def make_receipt(
    identity: str = "rcp_1",
    *,
    stream: str = STREAM,
    principal: str = "svc_1",
    received_at_us: int = 1_000_000,
    counts: Counts | None = None,
) -> Receipt:
    return Receipt(identity, stream, principal, received_at_us, 7, counts or Counts(1, accepted=1), 1, 1, b"")


def make_record(key: str = "k", *, body: bytes = b"{}", created_at_us: int = 1_000_000) -> IdempotencyRecord:
    scope = hashlib.sha256(key.encode()).digest()
    return IdempotencyRecord(scope, hashlib.sha256(body).digest(), 200, body, f"rcp_{key}", created_at_us)


def ids_of(blocks: Sequence[StoredBlock]) -> list[int]:
    """Return the ids in blocks, in order."""
    tables = [pa.ipc.open_stream(stored.block.payload).read_all() for stored in blocks]
    return [value for table in tables for value in table.column("id").to_pylist()]
