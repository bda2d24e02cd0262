"""Reading tables of the lake for evidence, by small instances of DuckDB of its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

import duckdb
import pyarrow as pa

from headwater.core.settings import Settings
from headwater.core.streams import stream_name
from headwater.engines.lake.protocol import TableStore
from headwater.engines.query.duck import lake_directory
from headwater.engines.query.failures import explain_failure
from headwater.engines.query.instance import DuckInstance, DuckLimits
from headwater.engines.query.protocol import TableSource
from headwater.engines.query.tables import SYSTEM_COLUMNS, table_source

TIMEOUT_SECONDS: Final = 20.0
_LIMITS: Final = DuckLimits(512 << 20, 1)


class LakeReader:
    """An instance for each environment. Not safe to use from two threads at once."""

    def __init__(self, settings: Settings, lake: TableStore) -> None:
        """Open nothing yet."""
        self._settings = settings
        self._lake = lake
        self._instances: dict[str, DuckInstance] = {}

    def run(
        self, environment_id: str, sql: str, tables: Mapping[str, tuple[str, pa.Schema]], values: Mapping[str, Any]
    ) -> pa.Table:
        """Return what a statement gives.

        Args:
            environment_id: whose tables.
            sql: with a placeholder of ``str.format`` for each table.
            tables: by placeholder, the name of a table and the columns that it has at least, beside the system's own.
            values: the parameters.

        Raises:
            HeadwaterError: ``query_timeout``, or ``sql_failed`` with what DuckDB says.
        """
        sources = {key: self._source(environment_id, *table) for key, table in tables.items()}
        instance = self._instances.get(environment_id)
        if instance is None:
            instance = DuckInstance(lake_directory(self._settings, environment_id), _LIMITS)
            self._instances[environment_id] = instance
        with instance.open_cursor() as cursor:
            timer = threading.Timer(TIMEOUT_SECONDS, cursor.interrupt)
            timer.start()
            try:
                views = {key: instance.view(cursor, source) for key, source in sources.items()}
                return cursor.execute(sql.format(**views), values).to_arrow_table()
            except (duckdb.Error, OSError, pa.ArrowException) as error:
                raise explain_failure(error) from error
            finally:
                timer.cancel()

    def close(self) -> None:
        """Close every instance."""
        for instance in self._instances.values():
            instance.close()
        self._instances.clear()

    def _source(self, environment_id: str, name: str, schema: pa.Schema) -> TableSource:
        state = self._lake.state(stream_name(environment_id, name))
        return table_source(name, pa.schema([*schema, *SYSTEM_COLUMNS]), state)
