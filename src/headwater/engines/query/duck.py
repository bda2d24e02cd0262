"""DuckDB in the process: one locked-down instance an environment, which sees the files of that environment alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.accelerator.instance import ReadFiles
from headwater.engines.query.accelerator.reading import TieredReading
from headwater.engines.query.accelerator.tier import Accelerator, NewestState
from headwater.engines.query.instance import DuckInstance, DuckLimits, DuckReading
from headwater.engines.query.parameters import duckdb_types
from headwater.engines.query.protocol import Column, Reading, ResultPolicy, TableSource
from headwater.engines.query.quoting import quote
from headwater.engines.query.tables import parquet_rows, table_source
from headwater.engines.query.walk import CheckedQuery, check_query


def lake_directory(settings: Settings, environment_id: str) -> Path:
    """Return where the tables of an environment lie."""
    root = settings.lake.url
    path = Home(settings.home).lake if root is None else Path(root.removeprefix("file://"))
    return path / environment_id


def describe_endpoint(
    sql: str, schemas: Mapping[str, pa.Schema], parameters: Sequence[ParameterSpec] = ()
) -> tuple[Column, ...]:
    """Return the result columns of an endpoint without any data.

    Args:
        sql: the endpoint's statement.
        schemas: the Arrow schema of every table it may read.
        parameters: its declared parameters.

    Raises:
        HeadwaterError: ``sql_rejected`` when the walk refuses it, ``sql_failed`` when a name or a type does not fit.
    """
    query = check_query(sql, tables=schemas.keys(), parameter_types=duckdb_types(parameters))
    with DuckInstance(None, DuckLimits(1 << 28, 1)) as instance:
        tables = {name: table_source(name, schemas[name], None) for name in query.tables}
        with instance.start(query, dict.fromkeys(query.parameters), tables, batch_rows=1) as reading:
            return tuple(reading.columns)


class DuckEngine:
    """The instances of every environment that was ever asked, opened when first asked."""

    def __init__(self, settings: Settings, newest: NewestState | None = None) -> None:
        """Open nothing yet; ``newest`` returns the state of a stream for the accelerator, None: there is none."""
        self._settings = settings
        self._limits = DuckLimits(settings.query.memory_limit_bytes, settings.query.threads)
        self._instances: dict[str, DuckInstance] = {}
        self._lock = threading.Lock()
        has_budget = settings.query.accelerator_bytes > 0
        self.accelerator = Accelerator(settings, newest, self._file_reader) if newest and has_budget else None

    @property
    def version(self) -> str:
        """Return DuckDB's version."""
        return duckdb.__version__

    def start(
        self,
        environment_id: str,
        query: CheckedQuery,
        *,
        parameters: Mapping[str, Any],
        tables: Mapping[str, TableSource],
        batch_rows: int,
        shown: ResultPolicy | None = None,
        is_wanted: bool = False,
    ) -> Reading:
        """Return a reading that has not begun: of the accelerator where it has the tables, else of Parquet."""

        def read_parquet() -> DuckReading:
            instance = self._instance(environment_id)
            return instance.start(query, parameters, tables, batch_rows=batch_rows, shown=shown)

        accelerator = self.accelerator
        if accelerator is None:
            return read_parquet()
        quick = accelerator.start(
            environment_id, query, parameters, tables, batch_rows=batch_rows, shown=shown, is_wanted=is_wanted
        )
        if quick is None:
            return read_parquet()

        def failed(is_broken: bool) -> None:
            accelerator.failed(environment_id, query.tables, is_broken=is_broken)

        return TieredReading(quick, read_parquet, failed)

    def close(self) -> None:
        """Close every instance."""
        if self.accelerator is not None:
            self.accelerator.close()
        with self._lock:
            for instance in self._instances.values():
                instance.close()
            self._instances.clear()

    def _instance(self, environment_id: str) -> DuckInstance:
        instance = self._instances.get(environment_id)
        if instance is None:
            with self._lock:
                instance = self._instances.get(environment_id)
                if instance is None:
                    instance = DuckInstance(lake_directory(self._settings, environment_id), self._limits)
                    self._instances[environment_id] = instance
        return instance

    def _file_reader(self, environment_id: str) -> ReadFiles:
        """Return what reads Parquet files of an environment as its queries do."""

        def read(files: Sequence[str], columns: Sequence[tuple[str, str]]) -> pa.Table:
            with self._instance(environment_id).open_cursor() as cursor:
                rows = parquet_rows(files)
                found = {str(name) for name, *_ in cursor.execute(f"FROM {rows} LIMIT 0").description}
                shown = ", ".join(
                    quote(name) if name in found else f"CAST(NULL AS {type_}) AS {quote(name)}"
                    for name, type_ in columns
                )
                return cursor.execute(f"SELECT {shown} FROM {rows}").to_arrow_table()  # noqa: S608 - quoted names

        return read
