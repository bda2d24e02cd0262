"""Result batches as bytes, one encoder a format: ``begin``, then ``encode`` for each batch, then ``end``."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from headwater.engines.query.protocol import Column
from headwater.services.query.formats import ResultFormat
from headwater.services.query.plain import dump_json, plain_columns, plain_value, portable

_PLAIN_SCALE: Final = 6  # beyond it Arrow writes small decimals with an exponent
_RFC3339: Final = "%Y-%m-%dT%H:%M:%S"

_types: Final[Any] = pa.types


class Encoder(Protocol):
    """Writes one result. Used once, batch after batch."""

    def begin(self, meta: Mapping[str, Any]) -> bytes:
        """Return what stands before the rows."""
        ...

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """Return the rows of a batch."""
        ...

    def end(self) -> bytes:
        """Return what stands behind the rows; a reader that lacks it was cut off."""
        ...


def make_encoder(form: ResultFormat, columns: Sequence[Column], schema: pa.Schema) -> Encoder:
    """Return an encoder for results of this shape."""
    named = unique_columns(columns)
    match form:
        case ResultFormat.JSON:
            return _JsonEncoder(named)
        case ResultFormat.NDJSON:
            return _NdjsonEncoder(named)
        case ResultFormat.CSV:
            return _CsvEncoder(named)
        case ResultFormat.ARROW:
            return _ArrowEncoder(named, schema)


def unique_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns with a number behind each name that was there before: an object has every name once."""
    seen: Counter[str] = Counter()
    taken = {column.name for column in columns}
    unique: list[Column] = []
    for column in columns:
        seen[column.name] += 1
        name = column.name
        while seen[column.name] > 1 and name in taken:
            name = f"{column.name}_{seen[column.name]}"
            seen[column.name] += name in taken
        taken.add(name)
        unique.append(Column(name, column.type))
    return tuple(unique)


class _JsonEncoder:
    """``{"meta": {…}, "data": [{…}, …]}``."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self._columns = columns
        self._names = [column.name for column in columns]
        self._is_first = True

    def begin(self, meta: Mapping[str, Any]) -> bytes:
        columns = [{"name": column.name, "type": column.type} for column in self._columns]
        return b'{"meta":' + dump_json({"columns": columns, **meta}) + b',"data":['

    def encode(self, batch: pa.RecordBatch) -> bytes:
        rows = dump_json(_rows(batch, self._columns, self._names))[1:-1]
        if self._is_first:
            self._is_first = False
            return rows
        return b"," + rows

    def end(self) -> bytes:
        return b"]}"


class _NdjsonEncoder:
    """One object a line."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self._columns = columns
        self._names = [column.name for column in columns]

    def begin(self, meta: Mapping[str, Any]) -> bytes:  # noqa: ARG002 - it has no place here
        return b""

    def encode(self, batch: pa.RecordBatch) -> bytes:
        return b"".join(dump_json(row, newline=True) for row in _rows(batch, self._columns, self._names))

    def end(self) -> bytes:
        return b""


class _CsvEncoder:
    """A header, then rows; null is an empty cell and empty text ``""``."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self._columns = columns
        self._names = [column.name for column in columns]

    def begin(self, meta: Mapping[str, Any]) -> bytes:  # noqa: ARG002 - it has no place here
        empty = pa.table({name: pa.array([], pa.string()) for name in self._names})
        return _csv(empty, header=True)

    def encode(self, batch: pa.RecordBatch) -> bytes:
        cells = [_cells(array) for array in portable(batch).columns]
        return _csv(pa.table(cells, names=self._names), header=False)

    def end(self) -> bytes:
        return b""


class _ArrowEncoder:
    """An Arrow IPC stream."""

    def __init__(self, columns: tuple[Column, ...], schema: pa.Schema) -> None:
        self._names = [column.name for column in columns]
        plain = portable(pa.RecordBatch.from_pylist([], schema=schema))
        self._piece = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._piece, plain.rename_columns(self._names).schema)

    def begin(self, meta: Mapping[str, Any]) -> bytes:  # noqa: ARG002 - the schema travels by itself
        return self._taken()

    def encode(self, batch: pa.RecordBatch) -> bytes:
        self._writer.write_batch(portable(batch).rename_columns(self._names))
        return self._taken()

    def end(self) -> bytes:
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        """Return what was written since the last time."""
        piece = self._piece.getvalue()
        self._piece.seek(0)
        self._piece.truncate()
        return piece


def _rows(batch: pa.RecordBatch, columns: tuple[Column, ...], names: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(zip(names, values, strict=True)) for values in zip(*plain_columns(batch, columns), strict=True)]


def _cells(array: pa.Array) -> pa.Array:
    """Return a column as CSV can write it."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _cells(array.storage)
    if _types.is_decimal(kind) and kind.scale > _PLAIN_SCALE:
        return pa.array([None if value is None else format(value, "f") for value in array.to_pylist()], pa.string())
    if _types.is_timestamp(kind):
        return pc.strftime(array, _RFC3339 + ("Z" if kind.tz else ""))
    if _types.is_nested(kind):
        values = array.to_pylist(maps_as_pydicts="lossy")
        texts = [None if value is None else dump_json(plain_value(value)).decode() for value in values]
        return pa.array(texts, pa.string())
    if _types.is_binary(kind) or _types.is_interval(kind) or _types.is_duration(kind):
        return pa.array([plain_value(value) for value in array.to_pylist()], pa.string())
    return array


def _csv(table: pa.Table, *, header: bool) -> bytes:
    sink = io.BytesIO()
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(include_header=header, quoting_style="needed"))
    return sink.getvalue()
