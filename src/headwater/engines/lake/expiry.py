"""Rows that have outlived their retention, out of the files that hold them.

Only files with such rows are written anew, in the same durable way as compaction's. The old ones go with the next
vacuum, once no reader can be at them any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import reduce
from itertools import islice
from operator import or_
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_uuid
from headwater.engines.lake.compaction import NO_HOOKS, Part, parts, rewrite
from headwater.engines.lake.files import sync
from headwater.engines.lake.protocol import Expiry

_AT_ONCE: Final = 64
"""Files written anew in one commit; what is left is done the next time."""


def expire(table: Path, handle: DeltaTable, expiry: Expiry) -> int:
    """Delete the rows that ``expiry`` names; return how many went.

    Raises:
        HeadwaterError: ``conflict`` when another writer changed one of the files meanwhile; nothing was deleted.
    """
    schema = pa.schema(handle.schema().to_arrow())
    if not expiry.before or not {expiry.owner, expiry.clock} <= set(schema.names):
        return 0
    doomed = _condition(expiry)
    counted = ((part, _count(table / part.name, expiry, doomed)) for part in parts(handle))
    touched = list(islice(((part, count) for part, count in counted if count), _AT_ONCE))
    if not touched:
        return 0
    staying = ~doomed | doomed.is_null()
    written = {part.name: f"part-{new_uuid()}.zstd.parquet" for part, count in touched if part.rows > count}
    try:
        for part, _ in touched:
            if part.name in written:
                rewrite(table, [part], table / written[part.name], schema, staying)
        sync(table)
        _swap(table, handle, schema, touched, written)
    except BaseException as error:
        for name in written.values():
            (table / name).unlink(missing_ok=True)
        if isinstance(error, CommitFailedError):
            raise HeadwaterError("conflict", f"another writer changed {table} while rows expired") from error
        raise
    return sum(count for _, count in touched)


def _swap(
    table: Path,
    handle: DeltaTable,
    schema: pa.Schema,
    touched: Sequence[tuple[Part, int]],
    written: Mapping[str, str],
) -> None:
    """Put what was written in the place of what was touched, in one commit."""
    now = time.time_ns() // 1_000_000
    removes = [RemoveAction(part.name, True, now, part.size, {}) for part, _ in touched]
    adds = [
        AddAction(name, (table / name).stat().st_size, {}, part.modified_at_ms, True, _rows(part.rows - count))
        for part, count in touched
        if (name := written.get(part.name))
    ]
    handle.create_write_transaction([*adds, *removes], "append", schema, post_commithook_properties=NO_HOOKS)


def _rows(count: int) -> str:
    return json.dumps({"numRecords": count})


def _condition(expiry: Expiry) -> pc.Expression:
    """Return what is true of a row that goes, and false or null of one that stays."""
    return reduce(
        or_,
        (
            (pc.field(expiry.owner) == owner) & (pc.field(expiry.clock) < pa.scalar(before, pa.timestamp("us", "UTC")))
            for owner, before in expiry.before.items()
        ),
    )


def _count(path: Path, expiry: Expiry, doomed: pc.Expression) -> int:
    """Return how many rows of a file go; most files are told to have none by their footers alone."""
    with closing(pq.ParquetFile(path)) as file:
        if not {expiry.owner, expiry.clock} <= set(file.schema_arrow.names):
            return 0
        if not _may_be_before(file.metadata, expiry.clock, max(expiry.before.values())):
            return 0
        batches = file.iter_batches(columns=[expiry.owner, expiry.clock])
        return sum(pa.Table.from_batches([batch]).filter(doomed).num_rows for batch in batches)


def _may_be_before(footer: Any, column: str, latest: datetime) -> bool:
    paths = [footer.schema.column(place).path for place in range(footer.num_columns)]
    place = paths.index(column)
    for group in range(footer.num_row_groups):
        statistics = footer.row_group(group).column(place).statistics
        if statistics is None or not statistics.has_min_max or statistics.min < latest:
            return True
    return False
