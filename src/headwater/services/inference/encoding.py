"""Logged predictions as Arrow blocks for the journal. Runs in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headwater.core.ids import new_id
from headwater.engines.journal.protocol import Block, Counts, JournalTransaction, Receipt, Span
from headwater.engines.models.log_schema import OWN_FIELDS
from headwater.services.inference.observations import Entry

PRINCIPAL: Final = "headwater:inference"


@dataclass(frozen=True, slots=True)
class LogBatch:
    """A ``Commit``: one block of logged predictions with its receipt."""

    block: Block
    config_version: int

    @property
    def rows(self) -> int:
        """Return how many predictions it holds."""
        return self.block.rows

    def apply(self, transaction: JournalTransaction) -> None:
        """Write block and receipt."""
        first = transaction.append(self.block)
        span = self.block.spans[0]
        receipt = Receipt(
            id=span.receipt_id,
            stream=self.block.stream,
            principal_id=PRINCIPAL,
            received_at_us=span.received_at_us,
            config_version=self.config_version,
            counts=Counts(span.rows, accepted=span.rows),
            first_seq=first,
            last_seq=first + span.rows - 1,
        )
        transaction.put_receipts([receipt])


def encode_batch(stream: str, entries: Sequence[Entry]) -> LogBatch:
    """Turn entries of one model version into a block."""
    version = entries[0].version
    arrays = [*_own_columns(entries), *_input_columns(entries), *_output_columns(entries)]
    columns = [
        array if isinstance(array, pa.Array) else pa.array(array, field.type, from_pandas=True)
        for array, field in zip(arrays, version.log_schema, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=version.log_schema)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    span = Span(new_id("rcp"), batch.num_rows, entries[-1].predicted_at_us, str(version.number))
    block = Block(stream, sink.getvalue().to_pybytes(), batch.num_rows, (span,))
    return LogBatch(block, entries[-1].caller.environment.snapshot.number)


def _own_columns(entries: Sequence[Entry]) -> list[Any]:
    """Return the columns every log has, in the order of ``OWN_FIELDS``: one value a request, repeated over its rows."""
    counts = np.array([len(entry.ids) for entry in entries])
    version = entries[0].version
    total = int(counts.sum())
    columns = [
        [identity for entry in entries for identity in entry.ids],
        pa.repeat(pa.scalar(version.model, pa.string()), total),
        pa.repeat(pa.scalar(version.number, pa.int64()), total),
        _repeat([entry.route for entry in entries], counts),
        _repeat([entry.caller.key.principal_id for entry in entries], counts),
        _repeat([entry.request_id for entry in entries], counts),
        pa.array(np.repeat([entry.predicted_at_us for entry in entries], counts)).cast(pa.timestamp("us", "UTC")),
        np.repeat(np.array([entry.latency_us for entry in entries], dtype=np.int64), counts),
    ]
    assert len(columns) == len(OWN_FIELDS)
    return columns


def _repeat(texts: list[str], counts: NDArray[Any]) -> pa.Array:
    values = pa.array(texts, pa.string())
    return values if counts.max() == 1 else values.take(pa.array(np.repeat(np.arange(len(texts)), counts)))


def _input_columns(entries: Sequence[Entry]) -> list[Any]:
    version = entries[0].version
    fields = version.signature.contract.fields
    types = [version.log_schema.field(len(OWN_FIELDS) + index).type for index in range(len(fields))]
    matrices = [entry.share.batch.matrix for entry in entries]
    if all(matrix is not None for matrix in matrices):
        parts = [
            matrix[entry.share.start : entry.share.stop]
            for matrix, entry in zip(matrices, entries, strict=True)
            if matrix is not None
        ]
        # Column by column in memory, so that Arrow takes each as it lies. What was absent is NaN here, null there.
        values = np.asfortranarray(np.concatenate(parts))
        absent = np.isnan(values)
        mask = absent if absent.any() else None
        return [
            pa.array(values[:, index], pa.float64(), mask=None if mask is None else mask[:, index]).cast(kind)
            for index, kind in enumerate(types)
        ]
    rows = [row for entry in entries for row in entry.share.batch.rows[entry.share.start : entry.share.stop]]
    return [list(column) for column in zip(*rows, strict=True)]


def _output_columns(entries: Sequence[Entry]) -> list[Any]:
    columns: list[Any] = []
    for index in range(len(entries[0].share.batch.outputs)):
        parts = [entry.share.batch.outputs[index][entry.share.start : entry.share.stop] for entry in entries]
        values = np.concatenate(parts)
        # Arrow makes lists out of nested sequences, not out of arrays of more than one axis.
        columns.append(values.tolist() if values.ndim > 1 or values.dtype.kind in "OU" else values)
    return columns
