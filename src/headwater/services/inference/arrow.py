"""Arrow streams in and out: columns by name go to the model as they lie, and its outputs come back the same way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.services.inference.batch import Inputs, Share
from headwater.services.inference.tabular import MAX_TABLE_ROWS, Column, check_count
from headwater.services.inference.version import ServedVersion

MEDIA_TYPE: Final = b"application/vnd.apache.arrow.stream"
_THREAD_FROM_ROWS: Final = 256
_TYPES: Final = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "string": pa.string()}


class ArrowReader:
    """Reads a body that is one Arrow IPC stream, its columns named as the model's inputs."""

    def __init__(self, body: bytes) -> None:
        """Read ``body``.

        Raises:
            HeadwaterError: ``malformed_body``, ``too_many_rows``, or ``input_invalid`` where a column's name is twice.
        """
        self._table = _read_table(body)
        names = self._table.column_names
        if len(set(names)) != len(names):
            raise HeadwaterError("input_invalid", "a column's name is there twice", hint="name each input once")

    async def read(self, version: ServedVersion) -> Inputs:
        """Return the rows."""
        columns = self._columns(version)
        if self._table.num_rows <= _THREAD_FROM_ROWS:
            return version.tables.read_columns(columns)
        return await asyncio.to_thread(version.tables.read_columns, columns)

    async def reread(self, version: ServedVersion) -> Inputs:
        """Return the rows, which are exact already."""
        return await self.read(version)

    def entity_key(self) -> bytes | None:
        """Return None: columns name no entity."""
        return None

    def _columns(self, version: ServedVersion) -> dict[str, Column]:
        fields = {field.name: field for field in version.signature.contract.fields}
        unknown = [name for name in self._table.column_names if name not in fields]
        if unknown:
            raise HeadwaterError(
                "input_invalid", f"there is no input {unknown[0][:80]!r}", hint=f"it takes {', '.join(fields)}"
            )
        if not self._table.num_columns:
            raise HeadwaterError("input_invalid", "there are no columns", hint=f"send {', '.join(fields)}")
        return {name: _column(fields[name], self._table.column(name)) for name in self._table.column_names}


def write_table(
    version: ServedVersion,
    route: str,
    ids: Sequence[str],
    share: Share,
    warnings: Sequence[str],
    *,
    more: Mapping[str, str] | None = None,
) -> bytes:
    """Return an Arrow stream of ``prediction_id`` and the outputs; the schema's metadata says the rest and ``more``."""
    arrays: list[Any] = [pa.array(ids, pa.string())]
    for output, values in zip(version.spec.outputs, share.batch.outputs, strict=True):
        arrays.append(_output(output, values[share.start : share.stop]))
    names = ["prediction_id", *(output.name for output in version.spec.outputs)]
    metadata = {"model": version.model, "version": str(version.number), "route": route, "warnings": "; ".join(warnings)}
    metadata |= more or {}
    schema = pa.schema(
        [pa.field(name, array.type) for name, array in zip(names, arrays, strict=True)], metadata=metadata
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _read_table(body: bytes) -> Any:
    if not body:
        raise HeadwaterError("empty_body", hint="send one Arrow IPC stream")
    try:
        with pa.ipc.open_stream(body) as reader:
            batches: list[Any] = []
            rows = 0
            for batch in reader:
                rows += batch.num_rows
                if rows > MAX_TABLE_ROWS:
                    check_count(rows)
                batch.validate(full=True)
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowException, OSError) as error:
        raise HeadwaterError(
            "malformed_body", f"the body is no Arrow stream: {str(error)[:200]}", hint="send one Arrow IPC stream"
        ) from error


def _column(field: Field, column: Any) -> Column:
    """Return a column as its field wants it; whatever holds a null is a list."""
    array = column.combine_chunks()
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_null(kind):
        return [None] * len(array)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    fits = {
        LogicalType.STRING: pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_view(kind),
        LogicalType.BOOLEAN: pa.types.is_boolean(kind),
    }.get(field.type, is_number)
    if not fits:
        raise HeadwaterError("input_invalid", f"input {field.name!r} is {field.type} and its column {kind}")
    if field.type is LogicalType.STRING or array.null_count:
        values: list[Any] = array.to_pylist()
        return values
    if pa.types.is_decimal(kind):
        array = pc.cast(array, pa.float64())
    found: Column = array.to_numpy(zero_copy_only=False)
    return found


def _is_view(kind: Any) -> bool:
    return bool(pa.types.is_string_view(kind))


def _output(output: OutputSpec, values: Any) -> Any:
    """Return an output as an Arrow array; axes beyond the rows become lists of fixed size."""
    flat = values.reshape(-1)
    kind = _TYPES[output.type]
    if flat.dtype.kind in "OU":
        array = pa.array(flat.tolist(), kind)
    else:
        array = pa.array(np.ascontiguousarray(flat)).cast(kind)
    for size in reversed(output.shape):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array
