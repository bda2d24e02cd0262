"""Predictions as rows of ``batch_predictions_<model>``, and the transaction that writes a chunk of them once."""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from headwater.contracts.model import Field
from headwater.contracts.rows import FieldError
from headwater.core.ids import format_id
from headwater.core.jobs import BatchScore
from headwater.core.streams import batch_log, stream_name
from headwater.engines.journal.protocol import Block, Counts, JournalTransaction, Receipt, Span
from headwater.engines.models.batch_schema import SOURCE_FIELDS, batch_schema
from headwater.engines.models.log_schema import OWN_FIELDS
from headwater.jobs.batch.inputs import Inputs
from headwater.jobs.batch.scorer import Scored
from headwater.jobs.batch.source import SEQ, Place

PRINCIPAL: Final = "headwater:batch"
ROUTE: Final = "batch"
OVERRIDDEN: Final = "override"  # what a reply calls it too
_CONTENT: Final = struct.Struct(">IIQ")
_SHOWN_ERRORS: Final = 5


@dataclass(frozen=True, slots=True)
class Written:
    """What a chunk holds: rows with outputs, rows without, and the output's sequence number after them (0: no rows)."""

    scored: int
    failed: int
    last_seq: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said of a chunk, ready to be written: an Arrow stream of ``rows`` predictions, and their count."""

    payload: bytes
    rows: int
    content: Written


class Encoder:
    """Makes Arrow rows of predictions."""

    def __init__(self, job_id: str, task: BatchScore, fields: Sequence[Field]) -> None:
        """Encode for a job."""
        self._job_id = job_id
        self._task = task
        self._fields = fields
        self._schema: pa.Schema = batch_schema(fields, task.version.outputs)

    def encode(
        self,
        rows: pa.Table,
        inputs: Inputs,
        scored: Scored,
        errors: Mapping[int, Sequence[FieldError]],
        *,
        now_us: int,
        overridden: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> Answer:
        """Return a row for each of ``rows`` that has outputs or ``errors``, in their order.

        ``overridden`` says by row with outputs what people have replaced in it.
        """
        with_outputs = inputs.rows[scored.rows] if len(scored.rows) else np.empty(0, np.int64)
        without = np.array(sorted(errors), np.int64)
        all_rows = np.concatenate([with_outputs, without])
        count, empty = len(all_rows), len(without)
        source = rows.take(pa.array(all_rows))
        seqs = source[SEQ].to_pylist()
        columns = [
            *self._own(
                seqs,
                np.concatenate([scored.latency_us, np.zeros(empty, np.int64)]),
                now_us,
                None if overridden is None else [*overridden, *([None] * empty)],
            ),
            *self._inputs(inputs, scored, empty),
            *self._outputs(scored, empty),
            *self._source(source, seqs, [None] * len(with_outputs) + [_text(errors[row]) for row in without.tolist()]),
        ]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        if empty:
            batch = batch.take(pa.array(np.argsort(all_rows, kind="stable")))
        return Answer(_payload(batch), count, Written(len(with_outputs), empty))

    def _own(
        self,
        seqs: Sequence[int],
        latency_us: Any,
        now_us: int,
        overridden: Sequence[Mapping[str, Any] | None] | None,
    ) -> list[pa.Array]:
        task, count = self._task, len(seqs)
        route: Any = _Same(ROUTE)
        overrides: Any = _Same(None)
        if overridden is not None:
            route = [OVERRIDDEN if item else ROUTE for item in overridden]
            overrides = [orjson.dumps(item).decode() if item else None for item in overridden]
        values: list[Any] = [
            [prediction_id(self._job_id, seq) for seq in seqs],
            *(_Same(task.model), _Same(task.version.number), route),
            *(_Same(task.principal_id), _Same(task.request_id)),
            pa.repeat(pa.scalar(now_us, pa.int64()), count).cast(pa.timestamp("us", "UTC")),
            latency_us,
            *(*map(_Same, (None, None, 1.0)), overrides),
        ]
        return [_array(value, field.type, count) for value, field in zip(values, OWN_FIELDS, strict=True)]

    def _inputs(self, inputs: Inputs, scored: Scored, empty: int) -> list[pa.Array]:
        """Return the inputs' columns; of rows without outputs, and of redacted inputs, nothing is written."""
        chosen = pa.array(scored.rows)
        arrays = []
        for index, field in enumerate(self._fields):
            kind = self._schema.field(len(OWN_FIELDS) + index).type
            if field.name in self._task.redact:
                arrays.append(pa.nulls(len(chosen) + empty, kind))
                continue
            values = pa.array(inputs.columns[index], from_pandas=True)
            arrays.append(_padded(values.cast(kind, safe=False).take(chosen), kind, empty))
        return arrays

    def _outputs(self, scored: Scored, empty: int) -> list[pa.Array]:
        first = len(OWN_FIELDS) + len(self._fields)
        kinds = [self._schema.field(first + index).type for index in range(len(self._task.version.outputs))]
        if not len(scored.rows):
            return [pa.nulls(empty, kind) for kind in kinds]
        return [
            _padded(pa.array(values, kind, from_pandas=True), kind, empty)
            for values, kind in zip(scored.outputs, kinds, strict=True)
        ]

    def _source(self, source: pa.Table, seqs: Sequence[int], errors: Sequence[str | None]) -> list[pa.Array]:
        task = self._task
        keys = source.select(list(task.keys)).to_pylist() if task.keys else None
        texts = [None] * len(seqs) if keys is None else [orjson.dumps(key, default=str).decode() for key in keys]
        values: list[Any] = [*map(_Same, (self._job_id, task.dataset, task.dataset_version)), seqs, texts, errors]
        return [_array(value, field.type, len(seqs)) for value, field in zip(values, SOURCE_FIELDS, strict=True)]


@dataclass(frozen=True, slots=True)
class ChunkCommit:
    """A chunk's predictions, to be written in one transaction with the record that they are: once, whoever comes.

    The record is a key of the output's stream, and its digest says what the chunk holds. Such keys are kept for ever.
    """

    stream: str
    key: bytes
    answer: Answer
    version: int
    config_version: int
    receipt_id: str
    now_us: int

    def apply(self, transaction: JournalTransaction) -> Written:
        """Write the chunk unless it is there; return what is there then."""
        known = transaction.find_keys(self.stream, [self.key]).get(self.key)
        if known is not None:
            return read_content(known)
        content, rows = self.answer.content, self.answer.rows
        if rows:
            span = Span(self.receipt_id, rows, self.now_us, str(self.version))
            first = transaction.append(Block(self.stream, self.answer.payload, rows, (span,)))
            last = first + rows - 1
            receipt = Receipt(
                id=self.receipt_id,
                stream=self.stream,
                principal_id=PRINCIPAL,
                received_at_us=self.now_us,
                config_version=self.config_version,
                counts=Counts(rows, accepted=rows),
                first_seq=first,
                last_seq=last,
            )
            transaction.put_receipts([receipt])
            content = replace(content, last_seq=last)
        digest = _CONTENT.pack(content.scored, content.failed, content.last_seq)
        transaction.put_keys(self.stream, {self.key: digest}, self.now_us)
        return content


def output_stream(task: BatchScore) -> str:
    """Return the stream that a job writes to."""
    return stream_name(task.environment_id, batch_log(task.model))


def chunk_key(job_id: str, place: Place) -> bytes:
    """Return the key under which the output's stream knows a chunk."""
    return hashlib.blake2b(f"{job_id}/{place.file}/{place.group}/{place.row}".encode(), digest_size=16).digest()


def receipt_id(key: bytes) -> str:
    """Return the receipt of a chunk: the same whoever writes it."""
    return format_id("rcp", uuid.UUID(bytes=key))


def read_content(digest: bytes) -> Written:
    """Return what the record of a chunk says that it holds."""
    return Written(*_CONTENT.unpack(digest))


def prediction_id(job_id: str, seq: int) -> str:
    """Return the id of the prediction that a job makes for a row: the same in every attempt."""
    digest = hashlib.blake2b(f"{job_id}/{seq}".encode(), digest_size=16).digest()
    return format_id("prd", uuid.UUID(bytes=digest))


@dataclass(frozen=True, slots=True)
class _Same:
    """A value that all rows share."""

    value: Any


def _array(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    if isinstance(value, _Same):
        return pa.nulls(count, kind) if value.value is None else pa.repeat(pa.scalar(value.value, kind), count)
    return value if isinstance(value, pa.Array) else pa.array(value, kind)


def _padded(values: pa.Array, kind: pa.DataType, empty: int) -> pa.Array:
    return pa.concat_arrays([values, pa.nulls(empty, kind)]) if empty else values


def _text(errors: Sequence[FieldError]) -> str:
    shown = [{name: value for name, value in asdict(error).items() if value is not None} for error in errors]
    return orjson.dumps(shown[:_SHOWN_ERRORS], default=str).decode()


def _payload(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload
