"""A dataset's rows in the lake as DuckDB reads them for features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from headwater.contracts.spec import contract_from_spec
from headwater.contracts.types import arrow_schema
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import DatasetSpec
from headwater.engines.lake.protocol import TableState
from headwater.engines.query.tables import SYSTEM_COLUMNS, table_source, view_body


def dataset_rows(dataset: DatasetSpec, state: TableState | None) -> str:
    """Return a subquery of a dataset's rows at one version of its table; columns that it lacks yet are null."""
    contract = contract_from_spec(dataset.contracts[dataset.active_version])
    own = arrow_schema(contract)
    schema = pa.schema([*own, *(field for field in SYSTEM_COLUMNS if field.name not in own.names)])
    return f"({view_body(table_source(dataset.name, schema, state))})"


def open_duckdb(*, threads: int, memory_bytes: int, spill: str | None = None) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB of one's own that spills what its memory does not hold into the folder ``spill``."""
    config: dict[str, Any] = {
        "threads": threads,
        "memory_limit": f"{memory_bytes // 1_000_000}MB",
        "preserve_insertion_order": True,
    }
    if spill is not None:
        config["temp_directory"] = spill
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def find_dataset(datasets: Mapping[str, DatasetSpec], name: str) -> DatasetSpec:
    """Return a dataset; raises ``dataset_not_found``."""
    dataset = datasets.get(name)
    if dataset is None:
        raise HeadwaterError("dataset_not_found", f"there is no dataset {name[:80]!r}")
    return dataset
