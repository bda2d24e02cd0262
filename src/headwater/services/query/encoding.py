"""Result batches as bytes, one encoder a format: ``begin``, then ``encode`` for each batch, then ``end``."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from headwater.engines.query.protocol import Column
from headwater.services.query.encoder import Encoder, PlainEncoder
from headwater.services.query.formats import MEDIA_TYPES, ResultFormat
from headwater.services.query.html_page import PAGE_HEADERS, HtmlEncoder
from headwater.services.query.plain import dump_json, plain_columns, plain_value, portable

_PLAIN_SCALE: Final = 6  # beyond it Arrow writes small decimals with an exponent
_RFC3339: Final = "%Y-%m-%dT%H:%M:%S"

_types: Final[Any] = pa.types
CONTENT_HEADERS: Final[Mapping[ResultFormat, tuple[tuple[bytes, bytes], ...]]] = {
    form: ((b"content-type", media.encode()), *(PAGE_HEADERS if form is ResultFormat.HTML else ()))
    for form, media in MEDIA_TYPES.items()
}
"""What is said of the bytes of each format."""


def make_encoder(form: ResultFormat, columns: Sequence[Column], schema: pa.Schema) -> Encoder:
    """Return an encoder for results of this shape."""
    named = unique_columns(tuple(columns))
    encoder: Encoder
    match form:
        case ResultFormat.JSON:
            encoder = _JsonEncoder(named)
        case ResultFormat.COLUMNS:
            encoder = _ColumnsEncoder(named)
        case ResultFormat.NDJSON | ResultFormat.NDJSON_TRAILER:
            encoder = _NdjsonEncoder(named, has_trailer=form is ResultFormat.NDJSON_TRAILER)
        case ResultFormat.CSV:
            encoder = _CsvEncoder(named)
        case ResultFormat.ARROW | ResultFormat.ARROW_TRAILER:
            encoder = _ArrowEncoder(named, schema, has_trailer=form is ResultFormat.ARROW_TRAILER)
        case ResultFormat.HTML:
            encoder = HtmlEncoder(named)
        case _:
            encoder = _make_file_encoder(form, named, schema)
    return encoder


def _make_file_encoder(form: ResultFormat, named: tuple[Column, ...], schema: pa.Schema) -> Encoder:
    # Their libraries are loaded by whoever is first to ask for such a file.
    if form is ResultFormat.XLSX:
        from headwater.services.query.workbook import WorkbookEncoder  # noqa: PLC0415 - as said

        return WorkbookEncoder(named)
    from headwater.services.query.parquet import ParquetEncoder  # noqa: PLC0415 - as said

    return ParquetEncoder(named, schema)


@lru_cache(maxsize=1_024)
def unique_columns(columns: tuple[Column, ...]) -> tuple[Column, ...]:
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


class _JsonEncoder(PlainEncoder):
    """``{"meta": {…}, "data": [{…}, …]}``."""

    _is_first = True

    def begin(self, meta: Mapping[str, Any]) -> bytes:
        return _json_head(self.columns, meta) + b"["

    def encode(self, batch: pa.RecordBatch) -> bytes:
        rows = dump_json(_rows(batch, self.columns, self.names))[1:-1]
        if self._is_first:
            self._is_first = False
            return rows
        return b"," + rows

    def end(self) -> bytes:
        return b"]}"


class _ColumnsEncoder(PlainEncoder):
    """``{"meta": {…}, "data": {"name": […], …}}``: half the size for charts. Holds the result until its end."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        super().__init__(columns)
        self._values: list[list[Any]] = [[] for _ in columns]

    def begin(self, meta: Mapping[str, Any]) -> bytes:
        return _json_head(self.columns, meta)

    def encode(self, batch: pa.RecordBatch) -> bytes:
        for held, values in zip(self._values, plain_columns(batch, self.columns), strict=True):
            held.extend(values)
        return b""

    def end(self) -> bytes:
        return dump_json(dict(zip(self.names, self._values, strict=True))) + b"}"


class _NdjsonEncoder(PlainEncoder):
    """One object a line, then, if asked for, a line that says that these were all."""

    def __init__(self, columns: tuple[Column, ...], *, has_trailer: bool) -> None:
        super().__init__(columns)
        self._has_trailer = has_trailer
        self._count = 0

    def encode(self, batch: pa.RecordBatch) -> bytes:
        self._count += batch.num_rows
        return b"".join(dump_json(row, newline=True) for row in _rows(batch, self.columns, self.names))

    def end(self) -> bytes:
        trailer = {"_trailer": {"complete": True, "rows": self._count}}
        return dump_json(trailer, newline=True) if self._has_trailer else b""


class _CsvEncoder(PlainEncoder):
    """A header, then rows; null is an empty cell and empty text ``""``."""

    def begin(self, meta: Mapping[str, Any]) -> bytes:  # noqa: ARG002 - it has no place here
        empty = pa.table({name: pa.array([], pa.string()) for name in self.names})
        return _csv(empty, header=True)

    def encode(self, batch: pa.RecordBatch) -> bytes:
        cells = [_cells(array) for array in portable(batch).columns]
        return _csv(pa.table(cells, names=self.names), header=False)


class _ArrowEncoder(PlainEncoder):
    """An Arrow IPC stream; if asked for, its last batch is empty and its metadata says that these were all."""

    def __init__(self, columns: tuple[Column, ...], schema: pa.Schema, *, has_trailer: bool) -> None:
        super().__init__(columns)
        plain = portable(pa.RecordBatch.from_pylist([], schema=schema))
        self._schema = plain.rename_columns(self.names).schema
        self._piece = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._piece, self._schema)
        self._has_trailer = has_trailer
        self._count = 0

    def begin(self, meta: Mapping[str, Any]) -> bytes:  # noqa: ARG002 - the schema travels by itself
        return self._taken()

    def encode(self, batch: pa.RecordBatch) -> bytes:
        self._count += batch.num_rows
        self._writer.write_batch(portable(batch).rename_columns(self.names))
        return self._taken()

    def end(self) -> bytes:
        if self._has_trailer:
            last = pa.RecordBatch.from_pylist([], schema=self._schema)
            self._writer.write_batch(last, custom_metadata={"complete": "true", "rows": str(self._count)})
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        """Return what was written since the last time."""
        piece = self._piece.getvalue()
        self._piece.seek(0)
        self._piece.truncate()
        return piece


def _json_head(columns: Sequence[Column], meta: Mapping[str, Any]) -> bytes:
    listed = [{"name": column.name, "type": column.type} for column in columns]
    return b'{"meta":' + dump_json({"columns": listed, **meta}) + b',"data":'


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
