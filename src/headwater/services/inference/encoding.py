"""Logged predictions as columns, and as Arrow blocks for the journal. Runs where no request waits for it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from copy import copy
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
from headwater.engines.models.log_schema import OWN_FIELDS, log_schema
from headwater.services.inference.sidecar.wire import Described, Group, Output

PRINCIPAL: Final = "headwater:inference"
WHOLE: Final = 10_000


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


class Rows:
    """Groups of one version as one: values by request with ``counts``, or by row."""

    def __init__(self, groups: Sequence[Group], fields: int) -> None:
        """Join ``groups`` of a version with as many inputs as ``fields`` says."""
        self.counts = np.array([count for group in groups for count in group.counts])
        self.ids = _joined([group.ids for group in groups])
        self.routes = _joined([group.routes for group in groups])
        self.principals = _joined([group.principals for group in groups])
        self.requests = _joined([group.requests for group in groups])
        self.predicted_at_us = np.array(_joined([group.predicted_at_us for group in groups]), np.int64)
        self.latency_us = np.array(_joined([group.latency_us for group in groups]), np.int64)
        self.features = _by_row(groups, [group.features for group in groups])
        self.shadow_of = _by_row(groups, [group.shadow_of for group in groups])
        self.overrides = _by_row(groups, [group.overrides for group in groups])
        self.matrix, self.columns = _inputs(groups, fields)
        self.outputs = [_output(list(parts)) for parts in zip(*(group.outputs for group in groups), strict=True)]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, kept: NDArray[np.intp]) -> Rows:
        """Return some of the rows, in their order."""
        taken = copy(self)
        requests = np.repeat(np.arange(len(self.counts)), self.counts)[kept]
        taken.counts = np.bincount(requests, minlength=len(self.counts))
        taken.ids = [self.ids[at] for at in kept]
        for name in ("features", "shadow_of", "overrides"):
            values = getattr(self, name)
            setattr(taken, name, None if values is None else [values[at] for at in kept])
        if self.matrix is not None:
            taken.matrix = self.matrix[kept]
        elif self.columns is not None:
            taken.columns = [[column[at] for at in kept] for column in self.columns]
        taken.outputs = [
            values[kept] if isinstance(values, np.ndarray) else [values[at] for at in kept] for values in self.outputs
        ]
        return taken

    def sampled(self, share_bps: int) -> NDArray[np.intp] | None:
        """Return which rows a log of this share has, by hash: None for all, the same for a shadow's rows.

        A prediction is in every sample of a larger share too.
        """
        if share_bps >= WHOLE:
            return None
        names = self.ids
        if self.shadow_of is not None:
            names = [served or own for served, own in zip(self.shadow_of, self.ids, strict=True)]
        points = np.fromiter((zlib.crc32(name.encode()) % WHOLE for name in names), np.int64, len(names))
        return np.flatnonzero(points < share_bps)


def encode_rows(version: LoggedVersion, rows: Rows, receipt_id: str) -> LogBatch | None:
    """Return the block of those rows that are logged; None when the sample has none of them."""
    last_us = int(rows.predicted_at_us[-1])
    kept = rows.sampled(version.described.sample_bps)
    if kept is not None:
        if not len(kept):
            return None
        rows = rows.take(kept)
    arrays = [*_own_columns(version, rows), *_input_columns(version, rows), *_output_columns(rows)]
    columns = [
        array if isinstance(array, pa.Array) else pa.array(array, field.type, from_pandas=True)
        for array, field in zip(arrays, version.schema, strict=True)
    ]
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
        rows.ids,
        pa.repeat(pa.scalar(described.model, pa.string()), total),
        pa.repeat(pa.scalar(described.number, pa.int64()), total),
        _repeat(rows.routes, rows.counts),
        _repeat(rows.principals, rows.counts),
        _repeat(rows.requests, rows.counts),
        pa.array(np.repeat(rows.predicted_at_us, rows.counts)).cast(pa.timestamp("us", "UTC")),
        np.repeat(rows.latency_us, rows.counts),
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


def _repeat(texts: Sequence[str], counts: NDArray[Any]) -> pa.Array:
    values = pa.array(texts, pa.string())
    return values if (counts == 1).all() else values.take(pa.array(np.repeat(np.arange(len(texts)), counts)))


def _input_columns(version: LoggedVersion, rows: Rows) -> list[Any]:
    types = [version.schema.field(len(OWN_FIELDS) + index).type for index in range(len(version.fields))]
    hidden = [field.name in version.redacted for field in version.fields]
    total = len(rows)
    if rows.matrix is not None:
        # Column by column in memory, so that Arrow takes each as it lies. What was absent is NaN here, null there.
        values = np.asfortranarray(rows.matrix)
        absent = np.isnan(values)
        mask = absent if absent.any() else None
        return [
            pa.nulls(total, kind)
            if hidden[index]
            else pa.array(values[:, index], pa.float64(), mask=None if mask is None else mask[:, index]).cast(kind)
            for index, kind in enumerate(types)
        ]
    assert rows.columns is not None
    return [
        pa.nulls(total, kind) if is_hidden else list(column)
        for column, kind, is_hidden in zip(rows.columns, types, hidden, strict=True)
    ]


def _output_columns(rows: Rows) -> list[Any]:
    # Arrow makes lists out of nested sequences, not out of arrays of more than one axis.
    return [
        values.tolist() if isinstance(values, np.ndarray) and values.ndim > 1 else values for values in rows.outputs
    ]


def _joined(parts: Sequence[list[Any]]) -> list[Any]:
    return parts[0] if len(parts) == 1 else [value for part in parts for value in part]


def _by_row(groups: Sequence[Group], parts: Sequence[list[Any] | None]) -> list[Any] | None:
    """Return one value a row, None for the rows of groups that have none; None when no group has any."""
    if all(part is None for part in parts):
        return None
    filled = [[None] * len(group.ids) if part is None else part for group, part in zip(groups, parts, strict=True)]
    return _joined(filled)


def _inputs(groups: Sequence[Group], fields: int) -> tuple[NDArray[np.float64] | None, list[Any] | None]:
    if all(group.matrix is not None for group in groups):
        data = groups[0].matrix if len(groups) == 1 else b"".join([group.matrix or b"" for group in groups])
        return np.frombuffer(data or b"", np.float64).reshape(-1, fields), None
    rows: list[Any] = []
    for group in groups:
        if group.matrix is None:
            rows.extend(group.rows or ())
        else:
            rows.extend(np.frombuffer(group.matrix, np.float64).reshape(-1, fields).tolist())
    return None, list(zip(*rows, strict=True))


def _output(parts: Sequence[Output]) -> NDArray[Any] | list[Any]:
    """Return an output of all groups: an array, or a list of values where these are objects."""
    if any(part.data is None for part in parts):
        return [value for part in parts for value in _values(part)]
    arrays = [np.frombuffer(part.data or b"", part.dtype).reshape(part.shape) for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _values(part: Output) -> list[Any]:
    if part.data is None:
        return part.values or []
    values: list[Any] = np.frombuffer(part.data, part.dtype).reshape(part.shape).tolist()
    return values
