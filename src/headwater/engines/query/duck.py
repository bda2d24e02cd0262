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
from headwater.engines.query.instance import DuckInstance, DuckLimits, DuckReading
from headwater.engines.query.parameters import duckdb_types
from headwater.engines.query.protocol import Column, ResultPolicy, TableSource
from headwater.engines.query.tables import table_source
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

    def __init__(self, settings: Settings) -> None:
        """Open nothing yet."""
        self._settings = settings
        self._limits = DuckLimits(settings.query.memory_limit_bytes, settings.query.threads)
        self._instances: dict[str, DuckInstance] = {}
        self._lock = threading.Lock()

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
    ) -> DuckReading:
        """Return a reading on the environment's instance that has not begun."""
        instance = self._instances.get(environment_id)
        if instance is None:
            with self._lock:
                instance = self._instances.get(environment_id)
                if instance is None:
                    instance = DuckInstance(lake_directory(self._settings, environment_id), self._limits)
                    self._instances[environment_id] = instance
        return instance.start(query, parameters, tables, batch_rows=batch_rows, shown=shown)

    def close(self) -> None:
        """Close every instance."""
        with self._lock:
            for instance in self._instances.values():
                instance.close()
            self._instances.clear()
