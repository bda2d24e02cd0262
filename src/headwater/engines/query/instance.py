"""One locked-down DuckDB instance and the queries on it.

An instance reads nothing outside its lake directory, loads no extension and cannot be reconfigured. Statements never
name files: they read views, one for each table version in use, which are made when first asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb
import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.engines.query.failures import explain_failure
from headwater.engines.query.protocol import Column, ResultPolicy, TableSource
from headwater.engines.query.quoting import quote
from headwater.engines.query.rules import RowRule
from headwater.engines.query.tables import view_body
from headwater.engines.query.walk import CheckedQuery, scratch

_KEPT_VIEWS: Final = 8
_KEPT_RULES: Final = 256
"""Tables as policies show them: many more than there are queries at once, each of which may need several."""


@dataclass(frozen=True, slots=True)
class DuckLimits:
    """What one instance may use."""

    memory_bytes: int
    threads: int


class DuckInstance:
    """One locked-down DuckDB and the views in it."""

    def __init__(self, directory: Path | None, limits: DuckLimits) -> None:
        """Open an instance that may read ``directory`` and nothing else; None: no file at all."""
        self._root = self._open(directory, limits)
        self._views: OrderedDict[tuple[str, RowRule | None], OrderedDict[TableSource, str]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def start(
        self,
        query: CheckedQuery,
        parameters: Mapping[str, Any],
        tables: Mapping[str, TableSource],
        *,
        batch_rows: int,
        shown: ResultPolicy | None = None,
    ) -> DuckReading:
        """Return a reading of ``query`` that has not begun; ``shown`` is the policy on what it answers."""
        return DuckReading(self, query, parameters, tables, batch_rows=batch_rows, shown=shown)

    def open_cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own on the instance."""
        return self._root.cursor()

    def view(self, cursor: duckdb.DuckDBPyConnection, source: TableSource) -> str:
        """Return the quoted name of the view on ``source``, made if it is new; views of old versions go.

        A view that goes does not disturb the queries that read it; the few newest stay for those about to begin.
        """
        place = (source.name, source.rule)
        with self._lock:
            views = self._views.get(place)
            name = None if views is None else views.get(source)
            if views is not None and name is not None:
                self._views.move_to_end(place)
                views.move_to_end(source)
                return name
        body = self._body(cursor, source)
        with self._lock:
            views = self._views.setdefault(place, OrderedDict())
            self._views.move_to_end(place)
            name = views.get(source)
            if name is None:
                self._count += 1
                name = f"v.{quote(f'{source.name}@{self._count}')}"
                cursor.execute(f"CREATE VIEW {name} AS {body}")
                views[source] = name
                self._forget_old(cursor, views)
            return name

    def _forget_old(self, cursor: duckdb.DuckDBPyConnection, views: OrderedDict[TableSource, str]) -> None:
        while len(views) > _KEPT_VIEWS:
            _, old = views.popitem(last=False)
            cursor.execute(f"DROP VIEW {old}")
        while len(self._views) > _KEPT_RULES:
            _, unused = self._views.popitem(last=False)
            for old in unused.values():
                cursor.execute(f"DROP VIEW {old}")

    def close(self) -> None:
        """Close the instance; queries under way fail."""
        self._root.close()

    def _open(self, directory: Path | None, limits: DuckLimits) -> duckdb.DuckDBPyConnection:
        return locked_connection(directory, limits)

    def _body(self, cursor: duckdb.DuckDBPyConnection, source: TableSource) -> str:  # noqa: ARG002 - others use it
        """Return the SELECT of the view on ``source``."""
        return view_body(source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DuckReading:
    """A query on an instance."""

    tier = "parquet"

    def __init__(
        self,
        instance: DuckInstance,
        query: CheckedQuery,
        parameters: Mapping[str, Any],
        tables: Mapping[str, TableSource],
        *,
        batch_rows: int,
        shown: ResultPolicy | None,
    ) -> None:
        """Prepare a reading; nothing runs yet."""
        self._shown = shown
        self._instance = instance
        self._query = query
        self._parameters = {name: parameters[name] for name in query.parameters}
        self._tables = tables
        self._batch_rows = batch_rows
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._reader: pa.RecordBatchReader | None = None
        self._columns: tuple[Column, ...] = ()
        self._is_interrupted = False

    @property
    def columns(self) -> Sequence[Column]:
        """Return the result's columns."""
        self._begin()
        return self._columns

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the batches."""
        return self._begin().schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows as they come; raises ``query_timeout`` or ``sql_failed``."""
        reader = self._begin()
        while True:
            try:
                if self._is_interrupted:
                    raise duckdb.InterruptException("interrupted")
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (duckdb.Error, OSError, pa.ArrowException) as error:
                raise explain_failure(error) from error
            if batch.num_rows:
                yield batch

    def interrupt(self) -> None:
        """Stop as soon as possible; repeat it until the reading's thread says it ended."""
        self._is_interrupted = True
        cursor = self._cursor
        if cursor is not None:
            cursor.interrupt()

    def close(self) -> None:
        """Release the query's connection."""
        if self._cursor is not None:
            self._reader = None
            self._cursor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> pa.RecordBatchReader:
        """Run the query up to its first rows."""
        if self._reader is None:
            try:
                self._cursor = cursor = self._instance.open_cursor()
                views = {name: self._instance.view(cursor, self._tables[name]) for name in self._query.tables}
                if self._is_interrupted:
                    raise duckdb.InterruptException("interrupted")
                self._execute(cursor, self._query.render(views))
                self._columns = tuple(Column(name, str(type_)) for name, type_, *_ in cursor.description)
                self._reader = cursor.to_arrow_reader(self._batch_rows)
            except duckdb.BinderException as error:
                raise self._explain_hidden() or explain_failure(error) from error
            except (duckdb.Error, OSError, pa.ArrowException) as error:
                raise explain_failure(error) from error
        return self._reader

    def _execute(self, cursor: duckdb.DuckDBPyConnection, text: str) -> None:
        """Run the query, within the policy on its answer if there is one."""
        if self._shown is not None:
            cursor.execute(f"SELECT * FROM ({text}) LIMIT 0", self._parameters or None)  # noqa: S608 - checked text
            columns = [(str(name), str(type_)) for name, type_, *_ in cursor.description]
            text = self._shown.rule(columns).select(text)
        cursor.execute(text, self._parameters or None)

    def _explain_hidden(self) -> HeadwaterError | None:
        """Return why the query may not bind: it names a column that a policy hides."""
        hidden = [
            f"{name}.{column}"
            for name in self._query.tables
            if (rule := self._tables[name].rule) is not None
            for column in rule.hidden
        ]
        if not hidden:
            return None
        return HeadwaterError(
            "forbidden",
            f"the query cannot be run without the columns that policies hide from this key: {', '.join(hidden)}",
            hint="leave them out, or ask for a policy that shows them",
        )


def locked_connection(
    directory: Path | None, limits: DuckLimits, *, opening: Sequence[str] = (), closing: str = ""
) -> duckdb.DuckDBPyConnection:
    """Return the root connection of a locked instance. The order matters: each setting closes a door behind it.

    Args:
        directory: the only one it may read; None: no file at all.
        limits: what it may use.
        opening: statements that need what is closed then, such as ATTACH.
        closing: more to close at the end.
    """
    scratch().close()  # the first import of the engine's extensions happens there, not under a lock
    connection = duckdb.connect(config={"threads": limits.threads, "python_enable_replacements": False})
    allowed = [] if directory is None else sorted({f"{path}/" for path in (directory, directory.resolve())})
    for statement, values in (
        ("SET memory_limit = $value", f"{limits.memory_bytes}B"),
        ("SET temp_directory = $value", ""),
        ("SET allowed_directories = $value", allowed),
    ):
        connection.execute(statement, {"value": values})
    for statement in opening:
        connection.execute(statement)
    connection.execute(
        "SET parquet_metadata_cache = true; SET TimeZone = 'UTC'; SET autoload_known_extensions = false;"
        "SET autoinstall_known_extensions = false; SET allow_community_extensions = false;"
        f"SET enable_external_access = false; CREATE SCHEMA v; {closing}; SET lock_configuration = true"
    )
    return connection
