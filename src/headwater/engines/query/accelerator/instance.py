"""A locked DuckDB over files of the accelerator, and what has come to their tables since.

The files are attached read-only and the file system is closed behind them. Rows that a table has beyond its file (the
*tail*) are read by the caller's means and kept in memory, a batch for each time that some came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from headwater.engines.query.accelerator.files import TABLE, Base
from headwater.engines.query.instance import DuckInstance, DuckLimits, locked_connection
from headwater.engines.query.protocol import TableSource
from headwater.engines.query.quoting import quote
from headwater.engines.query.tables import view_body

MAX_TAIL_BYTES: Final = 8 << 20
_MAX_COVERS: Final = 512

ReadFiles = Callable[[Sequence[str], Sequence[tuple[str, str]]], pa.Table]
"""Returns the rows of Parquet files with these columns (name and type), as the Parquet tier reads them."""


class NotCovered(Exception):
    """The accelerator cannot answer this; Parquet can."""


@dataclass(slots=True)
class _Tail:
    """Rows in memory, by the batch that brought them. ``seen`` holds the files of each batch."""

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: list[frozenset[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Cover:
    """How a table is answered: the attached file, if any, and the Parquet files beyond it."""

    base: Base | None
    tail: frozenset[str]


class AcceleratedInstance(DuckInstance):
    """The files of one environment that were good when it was opened; replaced as a whole when others are."""

    def __init__(self, bases: Mapping[str, Base], limits: DuckLimits, read_files: ReadFiles) -> None:
        """Attach ``bases``, by the name of their tables.

        Raises:
            duckdb.Error: one of them cannot be attached.
        """
        self.bases = dict(bases)
        self._places = {name: f"b{number}" for number, name in enumerate(sorted(bases))}
        self._read_files = read_files
        self._covers: dict[tuple[str, tuple[str, ...]], _Cover | None] = {}
        self._tails: dict[tuple[str, tuple[tuple[str, str], ...]], _Tail] = {}
        self._tails_lock = threading.Lock()
        super().__init__(None, limits)

    def covers(self, sources: Mapping[str, TableSource], names: Sequence[str]) -> bool:
        """Return whether every table can be answered from here, one at least from a file."""
        found = [self._cover(sources[name]) for name in names if _has_rows(sources[name])]
        return all(found) and any(one is not None and one.base is not None for one in found)

    def _open(self, directory: Path | None, limits: DuckLimits) -> duckdb.DuckDBPyConnection:
        """Attach the files, then close the file system: an attached file could be read as bytes otherwise."""
        attach = [
            f"ATTACH '{_literal(str(base.path))}' AS {self._places[name]} (READ_ONLY)"
            for name, base in self.bases.items()
        ]
        closing = "SET disabled_filesystems = 'LocalFileSystem'; CREATE SCHEMA tail"
        return locked_connection(directory, limits, opening=attach, closing=closing)

    def _body(self, cursor: duckdb.DuckDBPyConnection, source: TableSource) -> str:
        if not _has_rows(source):
            return view_body(source)
        cover = self._cover(source)
        if cover is None:
            raise NotCovered(source.name)
        stored = [(name, type_) for name, type_ in source.columns if name in source.stored]
        parts = []
        if cover.base is not None:
            has = dict(cover.base.manifest.columns)
            shown = ", ".join(_value(name, type_, is_there=name in has) for name, type_ in stored)
            parts.append(f"SELECT {shown} FROM {self._places[source.name]}.{TABLE}")  # noqa: S608 - quoted names
        if cover.tail:
            shown = ", ".join(quote(name) for name, _ in stored)
            parts.append(f"SELECT {shown} FROM {self._tail(cursor, source, cover.tail, stored)}")  # noqa: S608
        return view_body(source, rows=f"({' UNION ALL '.join(parts)})")

    def _cover(self, source: TableSource) -> _Cover | None:
        place = (source.name, source.files)
        if place not in self._covers:
            if len(self._covers) >= _MAX_COVERS:
                self._covers.clear()
            self._covers[place] = self._find_cover(source)
        return self._covers[place]

    def _find_cover(self, source: TableSource) -> _Cover | None:
        base = self.bases.get(source.name)
        files = frozenset(source.files)
        if base is not None:
            types = dict(source.columns)
            is_same = all(types.get(name, type_) == type_ for name, type_ in base.manifest.columns)
            if not is_same or not base.files <= files:
                return None
            files -= base.files
        return None if size_of(files) > MAX_TAIL_BYTES else _Cover(base, files)

    def _tail(
        self,
        cursor: duckdb.DuckDBPyConnection,
        source: TableSource,
        files: frozenset[str],
        stored: Sequence[tuple[str, str]],
    ) -> str:
        """Return the rows of ``files`` as a relation, read now if they were not before."""
        with self._tails_lock:
            tail = self._tails.setdefault((source.name, tuple(stored)), _Tail(f"tail.{quote(f't{len(self._tails)}')}"))
        with tail.lock:
            known: set[str] = set()
            for number, batch in enumerate(tail.seen):
                if known == files:
                    return f"(FROM {tail.name} WHERE _batch < {number})"
                known |= batch
            if not known <= files:
                raise NotCovered(source.name)  # files were merged since: the next file of the accelerator has them
            if known != files:
                self._load(cursor, tail, sorted(files - known), stored)
            return f"(FROM {tail.name} WHERE _batch < {len(tail.seen)})"

    def _load(
        self, cursor: duckdb.DuckDBPyConnection, tail: _Tail, files: Sequence[str], stored: Sequence[tuple[str, str]]
    ) -> None:
        number = len(tail.seen)
        rows = self._read_files(files, stored)
        loading = cursor.cursor()
        try:
            loading.register("fresh", rows)
            if number == 0:
                columns = ", ".join(f"{quote(name)} {type_}" for name, type_ in stored)
                loading.execute(f"CREATE TABLE IF NOT EXISTS {tail.name} ({columns}, _batch INTEGER)")
            loading.execute(f"INSERT INTO {tail.name} SELECT *, {number} FROM fresh")  # noqa: S608 - our own name
            loading.unregister("fresh")
        finally:
            loading.close()
        tail.seen.append(frozenset(files))


def size_of(files: frozenset[str]) -> int:
    """Return the bytes of Parquet files; more than any bound for one that is gone."""
    try:
        return sum(Path(file).stat().st_size for file in files)
    except OSError:
        return MAX_TAIL_BYTES + 1


def _has_rows(source: TableSource) -> bool:
    return bool(source.files) and not source.hides_rows


def _value(name: str, type_: str, *, is_there: bool) -> str:
    return quote(name) if is_there else f"CAST(NULL AS {type_}) AS {quote(name)}"


def _literal(text: str) -> str:
    return text.replace("'", "''")
