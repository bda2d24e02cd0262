"""Logged predictions as columns, and as Arrow blocks for the journal. Runs where no request waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from headwater.contracts.spec import contract_from_spec
from headwater.core.snapshot import OutputSpec
from headwater.core.streams import prediction_log, stream_name
from headwater.engines.journal.protocol import Block, Counts, JournalTransaction, Receipt, Span
from headwater.engines.models.log_schema import OWN_FIELDS, input_type, log_schema, output_type
from headwater.services.inference.rows import WHOLE, Rows
from headwater.services.inference.sidecar.wire import Described

PRINCIPAL: Final = "headwater:inference"


class LoggedVersion:
    """A version as the log knows it: its columns, and what must not be in them.

    Inputs that the model's log redacts, and those whose classification is not public, are left out.
    """

    def __init__(self, described: Described) -> None:
        """Compile a description."""
        self.described = described
        self.fields = contract_from_spec(described.inputs).fields
        self.outputs = tuple(OutputSpec.model_validate(output) for output in described.outputs)
        self.schema: pa.Schema = log_schema(self.fields, self.outputs)
        self.input_types = [input_type(field) for field in self.fields]
        self.output_types = [output_type(output) for output in self.outputs]
        self.stream = stream_name(described.environment_id, prediction_log(described.model))
        private = {field.name for field in self.fields if field.classification != "public"}
        self.redacted = private | set(described.redact)
        self.redacted_features = {
            f"{view}.{feature}" for field, view, feature in described.features if field in self.redacted
        }


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


def encode_rows(version: LoggedVersion, rows: Rows, receipt_id: str) -> LogBatch | None:
    """Return the block of those rows that are logged; None when the sample has none of them."""
    last_us = int(rows.predicted_at_us[-1])
    kept = rows.sampled(version.described.sample_bps)
    if kept is not None:
        if not len(kept):
            return None
        rows = rows.take(kept)
    columns = [*_own_columns(version, rows), *_input_columns(version, rows), *_output_columns(version, rows)]
    batch = pa.RecordBatch.from_arrays(columns, schema=version.schema)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    span = Span(receipt_id, batch.num_rows, last_us, str(version.described.number))
    block = Block(version.stream, sink.getvalue().to_pybytes(), batch.num_rows, (span,))
    return LogBatch(block, version.described.config)


def _own_columns(version: LoggedVersion, rows: Rows) -> list[Any]:
    """Return the columns every log has, in the order of ``OWN_FIELDS``: one value a request, repeated over its rows."""
    described, total = version.described, len(rows)
    columns = [
        pa.array(rows.ids, pa.string()),
        pa.repeat(pa.scalar(described.model, pa.string()), total),
        pa.repeat(pa.scalar(described.number, pa.int64()), total),
        _repeat(rows.routes, rows.counts, total),
        _repeat(rows.principals, rows.counts, total),
        _repeat(rows.requests, rows.counts, total),
        pa.array(np.repeat(rows.predicted_at_us, rows.counts)).view(pa.timestamp("us", "UTC")),
        pa.array(np.repeat(rows.latency_us, rows.counts)),
        _feature_texts(version, rows),
        pa.nulls(total, pa.string()) if rows.shadow_of is None else pa.array(rows.shadow_of, pa.string()),
        pa.repeat(pa.scalar(described.sample_bps / WHOLE, pa.float64()), total),
        _override_texts(rows),
    ]
    assert len(columns) == len(OWN_FIELDS)
    return columns


def _feature_texts(version: LoggedVersion, rows: Rows) -> pa.Array:
    if rows.features is None:
        return pa.nulls(len(rows), pa.string())
    return pa.array([_feature_text(row, version.redacted_features) for row in rows.features], pa.string())


def _feature_text(features: Mapping[str, Any] | None, redacted: set[str]) -> str | None:
    if features is None:
        return None
    shown = {name: value for name, value in features.items() if name not in redacted} if redacted else features
    return orjson.dumps(shown, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _override_texts(rows: Rows) -> pa.Array:
    if rows.overrides is None:
        return pa.nulls(len(rows), pa.string())
    return pa.array([None if row is None else orjson.dumps(row).decode() for row in rows.overrides], pa.string())


def _repeat(texts: Sequence[str], counts: NDArray[Any], total: int) -> pa.Array:
    if texts.count(texts[0]) == len(texts):
        return pa.repeat(pa.scalar(texts[0], pa.string()), total)
    values = pa.array(texts, pa.string())
    return values if (counts == 1).all() else values.take(pa.array(np.repeat(np.arange(len(texts)), counts)))


def _input_columns(version: LoggedVersion, rows: Rows) -> list[pa.Array]:
    return [
        pa.nulls(len(rows), kind) if field.name in version.redacted else rows.column(index, kind)
        for index, (field, kind) in enumerate(zip(version.fields, version.input_types, strict=True))
    ]


def _output_columns(version: LoggedVersion, rows: Rows) -> list[pa.Array]:
    return [_nested(values, kind) for values, kind in zip(rows.outputs, version.output_types, strict=True)]


def _nested(values: Any, kind: pa.DataType) -> pa.Array:
    """Return an output as an Arrow array: a list for each axis after the first."""
    if not isinstance(values, np.ndarray) or values.ndim == 1:
        return pa.array(values, kind, from_pandas=True)
    count, length = values.shape[:2]
    inner = _nested(values.reshape(count * length, *values.shape[2:]), kind.value_type)
    return pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * length, inner, kind)
