"""What a query will read, estimated from the footers of Parquet files before it runs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.engines.query.protocol import TableSource
from headwater.engines.query.quoting import quote
from headwater.engines.query.walk import CheckedQuery, scratch

_MAX_FILES: Final = 5_000
_MAX_SUMS: Final = 1_000
_DESCEND: Final = 300


class ParquetSizes:
    """Compressed bytes by column of Parquet files, which never change. Safe to use from several threads."""

    def __init__(self) -> None:
        """Know no file yet."""
        self._known: OrderedDict[str, Mapping[str, int]] = OrderedDict()
        self._sums: dict[tuple[CheckedQuery, tuple[tuple[str, ...], ...]], int] = {}
        self._lock = threading.Lock()

    def known(self, query: CheckedQuery, tables: Mapping[str, TableSource]) -> int | None:
        """Return the same without reading anything; None when a footer would have to be read."""
        files = tuple(() if tables[name].hides_rows else tables[name].files for name in query.tables)
        known = self._sums.get((query, files))
        if known is None and all(file in self._known for some in files for file in some):
            known = self.scanned(query, tables)
            if len(self._sums) >= _MAX_SUMS:
                self._sums.clear()
            self._sums[query, files] = known
        return known

    def scanned(self, query: CheckedQuery, tables: Mapping[str, TableSource]) -> int:
        """Return the bytes of the columns that ``query`` names, in all files of its tables; reads unknown footers."""
        if not query.tables:
            return 0
        names = named_columns(query)
        sources = [tables[name] for name in query.tables if not tables[name].hides_rows]
        return sum(self._size(file, names) for source in sources for file in source.files)

    def _size(self, file: str, names: frozenset[str] | None) -> int:
        columns = self._known.get(file)
        if columns is None:
            columns = _read_sizes(file)
            with self._lock:
                self._known[file] = columns
                if len(self._known) > _MAX_FILES:
                    self._known.popitem(last=False)
        return sum(columns.values()) if names is None else sum(columns.get(name, 0) for name in names)


@lru_cache(maxsize=1_000)
def named_columns(query: CheckedQuery) -> frozenset[str] | None:
    """Return every column name in a query, whichever table it is of; None when it asks for all with a star."""
    text = query.render({name: quote(name) for name in query.tables})
    try:
        with scratch() as connection:
            row = connection.execute("SELECT json_serialize_sql($text::VARCHAR)", {"text": text}).fetchone()
        found = set(_names(orjson.loads(row[0]) if row else {}, _DESCEND))
    except (duckdb.Error, ValueError):
        return None
    return None if "*" in found else frozenset(found)


def _names(node: Any, depth: int) -> Iterator[str]:
    if not depth:
        yield "*"  # too deep to tell
    elif isinstance(node, list):
        for child in node:
            yield from _names(child, depth - 1)
    elif isinstance(node, dict):
        if node.get("class") == "STAR":
            yield "*"
        elif node.get("class") == "COLUMN_REF":
            yield str(node["column_names"][-1])
        yield from map(str, node.get("using_columns") or ())
        for child in node.values():
            if isinstance(child, dict | list):
                yield from _names(child, depth - 1)


def _read_sizes(file: str) -> Mapping[str, int]:
    try:
        metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowException):
        return {}  # the query itself will say that it cannot be read
    return _by_column(metadata)


def _by_column(metadata: pq.FileMetaData) -> Mapping[str, int]:
    sizes: dict[str, int] = {}
    for group in _groups(metadata):
        for index in range(group.num_columns):
            column = group.column(index)
            name = column.path_in_schema.split(".", 1)[0]
            sizes[name] = sizes.get(name, 0) + column.total_compressed_size
    return sizes


def _groups(metadata: pq.FileMetaData) -> Iterable[pq.RowGroupMetaData]:
    return (metadata.row_group(index) for index in range(metadata.num_row_groups))
