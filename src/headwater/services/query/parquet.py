"""A result as a Parquet file, written as it comes: row groups go out as soon as they are full."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.engines.query.protocol import Column
from headwater.services.query.encoder import PlainEncoder
from headwater.services.query.plain import dump_json, plain_value, portable

GROUP_ROWS: Final = 122_880
GROUP_BYTES: Final = 32 << 20

_types: Final[Any] = pa.types


class _Outlet(io.RawIOBase):
    """Where the writer writes: it says how far the file is, and what was written is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        written = b"".join(self._pieces)
        self._pieces.clear()
        return written


class ParquetEncoder(PlainEncoder):
    """One file; ``meta`` is in its metadata as JSON under ``headwater``."""

    def __init__(self, columns: tuple[Column, ...], schema: pa.Schema) -> None:
        """Write results of these columns, whose batches have this schema."""
        super().__init__(columns)
        self._schema = _storable(pa.RecordBatch.from_pylist([], schema=schema), self.names).schema
        self._outlet = _Outlet()
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def begin(self, meta: Mapping[str, Any]) -> bytes:
        """Return the first bytes."""
        told = {name: value for name, value in meta.items() if name != "row_count"}
        schema = self._schema.with_metadata({"headwater": dump_json(told)})
        self._writer = pq.ParquetWriter(self._outlet, schema, compression="zstd", compression_level=1)
        return self._outlet.taken()

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """Return the row groups that are full with this batch."""
        stored = _storable(batch, self.names)
        self._waiting.append(stored)
        self._rows += stored.num_rows
        self._bytes += stored.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write_group()
        return self._outlet.taken()

    def end(self) -> bytes:
        """Return the last row group and the footer, without which it is no Parquet file."""
        self._write_group()
        assert self._writer is not None, "it began"
        self._writer.close()
        return self._outlet.taken()

    def _write_group(self) -> None:
        assert self._writer is not None, "it began"
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table.cast(self._writer.schema), row_group_size=GROUP_ROWS)
            self._waiting.clear()
            self._rows = self._bytes = 0


def _storable(batch: pa.RecordBatch, names: list[str]) -> pa.RecordBatch:
    """Return the batch with what Parquet has no type for as text."""
    arrays = [_stored(array) for array in portable(batch).columns]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _stored(array: pa.Array) -> pa.Array:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _stored(array.storage)
    if _types.is_interval(kind) or _types.is_duration(kind):
        return pa.array([plain_value(value) for value in array.to_pylist()], pa.string())
    return array
