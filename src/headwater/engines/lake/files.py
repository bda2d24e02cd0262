"""Parquet files that are on the disk for good before a table refers to them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_uuid

ROW_GROUP_ROWS: Final = 122_880  # what DuckDB hands to one thread
_STATISTICS_COLUMNS: Final = 64

_types: Final[Any] = pa.types


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of a table: its name, size in bytes and Delta statistics (JSON)."""

    name: str
    size: int
    statistics: str


def write_data_file(directory: Path, rows: pa.Table) -> DataFile:
    """Write ``rows`` to a new file of ``directory``; return once it survives the loss of power."""
    name = f"part-{new_uuid()}.zstd.parquet"
    path = directory / name
    try:
        with open_writer(path, rows.schema) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        sync(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync(directory)
    return DataFile(name, path.stat().st_size, statistics(rows))


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a Parquet writer with the lake's settings."""
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, write_statistics=True)


def statistics(rows: pa.Table) -> str:
    """Return what a reader may know without opening the file: row count, nulls, and bounds where they are exact."""
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for field in list(rows.schema)[:_STATISTICS_COLUMNS]:
        column = rows.column(field.name)
        if _types.is_nested(field.type):
            continue
        nulls[field.name] = column.null_count
        if column.null_count < rows.num_rows and _is_bounded(field.type):
            bounds = pc.min_max(column)
            try:
                lowest[field.name], highest[field.name] = _plain(bounds["min"]), _plain(bounds["max"])
            except (ValueError, OverflowError):
                continue  # an instant that Python's calendar does not have
    return json.dumps({"numRecords": rows.num_rows, "minValues": lowest, "maxValues": highest, "nullCount": nulls})


def sync(path: Path) -> None:
    """Force a file, or a directory's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_full_as_exhausted(path: Path) -> Iterator[None]:
    """Raise ``storage_exhausted`` when the disk, or a quota on it, is full; let everything else through."""
    try:
        yield
    except (OSError, DeltaError) as error:
        number = getattr(error, "errno", None)
        if number not in (errno.ENOSPC, errno.EDQUOT) and "No space left on device" not in str(error):
            raise
        raise HeadwaterError(
            "storage_exhausted",
            f"there is no room left on the disk of {path}; nothing was committed",
            hint="free disk space: the rows wait in the journal and go on by themselves",
            retry_after_seconds=10,
        ) from error


def _is_bounded(kind: pa.DataType) -> bool:
    """Return whether a column's bounds are short and exact. Floats may hold NaN, decimals lose digits in JSON."""
    return bool(_types.is_integer(kind) or _types.is_date(kind) or _types.is_timestamp(kind))


def _plain(bound: pa.Scalar) -> Any:
    """Return a bound as Delta writes it in JSON."""
    value = bound.as_py()
    if _types.is_timestamp(bound.type):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value.isoformat() if _types.is_date(bound.type) else value
