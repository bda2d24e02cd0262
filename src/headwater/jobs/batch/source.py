"""The rows of a pinned dataset version, chunk by chunk: the same chunks however often they are read.

A chunk is a run of rows of one row group of one file, so files are read a row group at a time and only the columns that
are needed: memory is bounded by these, whatever the dataset's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headwater.core.errors import HeadwaterError
from headwater.core.expressions import Expression, compile_expression
from headwater.core.jobs import BatchScore, RowChoice
from headwater.jobs.batch.features import FeatureJoin, columns_of

SEQ: Final = "_hw_seq"
_SQL_TYPES: Final = {"number": "DOUBLE", "integer": "BIGINT", "string": "VARCHAR", "boolean": "BOOLEAN"}


class Place(NamedTuple):
    """Where a chunk begins: file, row group of it, row of that. Chunks are read in the order of their places."""

    file: int = 0
    group: int = 0
    row: int = 0

    @classmethod
    def read(cls, plain: Mapping[str, int]) -> Place:
        """Return the place that ``plain`` was made of."""
        return cls(plain.get("file", 0), plain.get("group", 0), plain.get("row", 0))

    @property
    def plain(self) -> dict[str, int]:
        """Return the place as a job notes it."""
        return dict(zip(self._fields, self, strict=True))


class Chunk(NamedTuple):
    """Rows that are scored together: where they begin, where the next ones do, and the rows themselves."""

    place: Place
    next_place: Place
    rows: pa.Table


class Source:
    """The files of a job."""

    def __init__(self, task: BatchScore, join: FeatureJoin | None = None) -> None:
        """Read the columns that ``task`` needs, and add those that ``join`` computes."""
        self._task = task
        self._join = join
        choice = task.rows
        wanted = [*task.columns.values(), *task.keys, *choice.names, *columns_of(task), SEQ]
        wanted += [choice.event_time] if choice.event_time is not None else []
        self._columns: Sequence[str] = list(dict.fromkeys(wanted))

    def chunks(self, start: Place) -> Iterator[Chunk]:
        """Yield the chunks from a place on.

        Raises:
            HeadwaterError: ``conflict`` when a file is not there any more.
        """
        for number, path in enumerate(self._task.files):
            if number < start.file:
                continue
            with _opened(path, self._task) as file:
                yield from self._file_chunks(file, number, start if number == start.file else Place(number))

    def _file_chunks(self, file: pq.ParquetFile, number: int, start: Place) -> Iterator[Chunk]:
        present = [name for name in self._columns if name in file.schema_arrow.names]
        size = self._task.chunk_rows
        for group in range(start.group, file.num_row_groups):
            rows = self._complete(file.read_row_group(group, columns=present, use_threads=False))
            rows = rows if self._join is None else self._join.add(rows)
            first = start.row if group == start.group else 0
            for row in range(first, rows.num_rows, size):
                is_last = row + size >= rows.num_rows
                following = Place(number, group + 1, 0) if is_last else Place(number, group, row + size)
                yield Chunk(Place(number, group, row), following, rows.slice(row, size))

    def _complete(self, rows: pa.Table) -> pa.Table:
        """Return rows with the columns that their file is too old to have, as nulls."""
        for name in self._columns:
            if name not in rows.column_names:
                rows = rows.append_column(name, pa.nulls(rows.num_rows))
        return rows


class RowFilter:
    """Chooses the rows that a job is about."""

    def __init__(self, choice: RowChoice) -> None:
        """Compile the choice."""
        self._choice = choice
        self._expression: Expression | None = None
        if choice.where is not None:
            self._expression = compile_expression(choice.where, choice.names)
            self._connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "256MB"})
            columns = {name: _sql(name, kind) for name, kind in choice.names.items()}
            self._statement = f"SELECT {self._expression.sql(columns)} AS keep FROM chunk"  # noqa: S608 - compiled

    def choose(self, rows: pa.Table) -> pa.Table:
        """Return the rows that are meant, in their order."""
        choice = self._choice
        if choice.event_time is not None:
            at = rows[choice.event_time].cast(pa.timestamp("us", "UTC"))
            if choice.since_us is not None:
                rows, at = _where(pc.greater_equal(at, _instant(choice.since_us)), rows, at)
            if choice.until_us is not None:
                rows, at = _where(pc.less(at, _instant(choice.until_us)), rows, at)
        if self._expression is None or not rows.num_rows:
            return rows
        self._connection.register("chunk", rows)
        keep = self._connection.execute(self._statement).to_arrow_table()["keep"]
        self._connection.unregister("chunk")
        return rows.filter(keep.cast(pa.bool_()))

    def close(self) -> None:
        """Release DuckDB."""
        if self._expression is not None:
            self._connection.close()


def _where(mask: Any, rows: pa.Table, at: Any) -> tuple[pa.Table, Any]:
    return rows.filter(mask), at.filter(mask)


def _instant(micros: int) -> Any:
    return pa.scalar(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))


def _sql(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if kind == "timestamp":
        return f"CAST({column} AS TIMESTAMPTZ)"
    value = f"TRY_CAST({column} AS {_SQL_TYPES[kind]})"
    # Expressions know no NaN: a number that is not finite is no value to them.
    return f"CASE WHEN isfinite({value}) THEN {value} END" if kind == "number" else value


def _opened(path: str, task: BatchScore) -> pq.ParquetFile:
    if not Path(path).exists():
        raise HeadwaterError(
            "conflict",
            f"version {task.dataset_version} of {task.dataset} is not there any more: {Path(path).name} is gone",
            hint="old versions are kept for lake.vacuum_retention_hours; start the job again on the newest one",
        )
    return cast("pq.ParquetFile", pq.ParquetFile(path, memory_map=False))
