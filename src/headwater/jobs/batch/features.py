"""Features for the rows of a batch job: computed from the views' history, as of the instant of each row."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.jobs import BatchScore, FeatureSource
from headwater.core.settings import Settings
from headwater.core.snapshot import FeatureRefSpec
from headwater.engines.features.lake import open_duckdb
from headwater.engines.features.recall import AS_OF, recall
from headwater.engines.lake.protocol import TableState

_INSTANT: Final = pa.timestamp("us", "UTC")


def column_of(need: FeatureRefSpec) -> str:
    """Return the column that has a feature; no dataset has one with a dot in its name."""
    return f"{need.view}.{need.feature}"


def columns_of(task: BatchScore) -> list[str]:
    """Return the columns of the dataset that features are computed by."""
    parts = [column for source in task.views.values() for column in source.columns.values()]
    return [*parts, *([task.as_of] if task.as_of is not None and task.features else [])]


class FeatureJoin:
    """Adds features to rows. It reads the same versions of the views' tables however often a job is resumed."""

    def __init__(self, task: BatchScore, settings: Settings) -> None:
        """Open a DuckDB of its own, which spills what memory does not hold."""
        self._task = task
        jobs = Home(settings.home).jobs
        jobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._spill = tempfile.mkdtemp(dir=jobs, prefix="spill-")
        self._connection = open_duckdb(threads=1, memory_bytes=settings.query.memory_limit_bytes, spill=self._spill)
        self._states: dict[str, TableState | None] = {}

    def add(self, rows: pa.Table) -> pa.Table:
        """Return rows with a column for each feature, named by ``column_of``.

        Raises:
            HeadwaterError: ``conflict`` when a file of a view's table is not there any more, ``sql_failed``.
        """
        for name, source in self._task.views.items():
            needs = [need for need in self._task.features if need.view == name]
            labels = pa.table(
                {part: rows[column] for part, column in source.columns.items()} | {AS_OF: self._as_of(rows)}
            )
            try:
                found = recall(self._connection, source.view, source.dataset, self._state(name, source), labels)
            except duckdb.Error as error:
                raise HeadwaterError(
                    "sql_failed", f"features of view {name!r} could not be computed: {str(error)[:300]}"
                ) from error
            for feature in dict.fromkeys(need.feature for need in needs):
                rows = rows.append_column(f"{name}.{feature}", found[feature])
        return rows

    def close(self) -> None:
        """Release DuckDB and what it spilled."""
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def _as_of(self, rows: pa.Table) -> pa.ChunkedArray | pa.Array:
        if self._task.as_of is not None:
            return rows[self._task.as_of].cast(_INSTANT)
        return pa.repeat(pa.scalar(self._task.as_of_us or 0, pa.int64()), rows.num_rows).cast(_INSTANT)

    def _state(self, name: str, source: FeatureSource) -> TableState | None:
        if name not in self._states:
            self._states[name] = _table_state(source)
        return self._states[name]


def _table_state(source: FeatureSource) -> TableState | None:
    """Return the version of a table that a job is pinned to, with the columns that its files have."""
    if source.table_version is None or not source.files:
        return None
    gone = next((path for path in source.files if not Path(path).exists()), None)
    if gone is not None:
        raise HeadwaterError(
            "conflict",
            f"version {source.table_version} of {source.view.dataset} is not there any more: {Path(gone).name} is gone",
            hint="old versions are kept for lake.vacuum_retention_hours; start the job again",
        )
    schema = pa.unify_schemas([pq.read_schema(path) for path in source.files], promote_options="permissive")
    return TableState(source.view.dataset, source.table_version, source.files, schema, source.row_count)
