"""Many small files into few large ones, without waiting commits and without trusting unsynced files.

The outputs are written and synced before the commit that swaps them in, so that a table never refers to a file that a
loss of power could take. Rows keep their order. Appends may happen meanwhile: the swap touches only its own inputs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, PostCommitHookProperties, RemoveAction

from headwater.core.ids import new_uuid
from headwater.engines.lake.columns import conformed
from headwater.engines.lake.files import ROW_GROUP_ROWS, open_writer, sync

TARGET_BYTES: Final = 128 << 20
_TIER: Final = 4
_BATCH_ROWS: Final = 65_536
_GROUP_BYTES: Final = 128 << 20  # in memory: rows that compress well are far larger there than in their files

NO_HOOKS: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


@dataclass(frozen=True, slots=True)
class Part:
    """A file that a table refers to."""

    name: str
    size: int
    modified_at_ms: int
    rows: int


def parts(handle: DeltaTable) -> list[Part]:
    """Return a table's files, the oldest first."""
    actions = pa.table(handle.get_add_actions(flatten=True))
    columns = [actions.column(name).to_pylist() for name in ("path", "size_bytes", "modification_time", "num_records")]
    return sorted((Part(*row) for row in zip(*columns, strict=True)), key=lambda part: (part.modified_at_ms, part.name))


def choose(files: Sequence[Part], *, least: int) -> list[list[Part]]:
    """Return groups of files to be made one each; empty unless at least ``least`` small files have gathered.

    From the newest back, a file joins while it is no larger than a few times all younger ones together. Each row is
    therefore rewritten only as often as the table grows by that factor.
    """
    chosen: list[Part] = []
    total = 0
    for part in reversed(files):
        if part.size >= TARGET_BYTES or (chosen and part.size > _TIER * total):
            break
        chosen.append(part)
        total += part.size
    if len(chosen) < least:
        return []
    groups: list[list[Part]] = [[]]
    for part in reversed(chosen):
        if groups[-1] and sum(member.size for member in groups[-1]) + part.size > TARGET_BYTES:
            groups.append([])
        groups[-1].append(part)
    return [group for group in groups if len(group) > 1]


def compact(table: Path, handle: DeltaTable, groups: Sequence[Sequence[Part]]) -> int:
    """Rewrite each group into one file and swap them in one commit; return how many files went.

    Returns 0, with the table as it was, when another writer removed one of the files meanwhile.
    """
    schema = pa.schema(handle.schema().to_arrow())
    written: list[Path] = []
    adds: list[AddAction] = []
    try:
        for group in groups:
            path = table / f"part-{new_uuid()}.zstd.parquet"
            written.append(path)
            rewrite(table, group, path, schema)
            rows = json.dumps({"numRecords": sum(part.rows for part in group)})
            adds.append(AddAction(path.name, path.stat().st_size, {}, group[-1].modified_at_ms, False, rows))
        sync(table)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    now = time.time_ns() // 1_000_000
    gone = [part for group in groups for part in group]
    removes = [RemoveAction(part.name, False, now, part.size, {}) for part in gone]
    try:
        handle.create_write_transaction([*adds, *removes], "append", schema, post_commithook_properties=NO_HOOKS)
    except CommitFailedError:
        for path in written:
            path.unlink(missing_ok=True)
        return 0
    return len(gone)


def rewrite(
    table: Path, group: Sequence[Part], to: Path, schema: pa.Schema, staying: pc.Expression | None = None
) -> None:
    """Copy a group's rows, or those ``staying``, into one synced file, a row group at a time."""
    with open_writer(to, schema) as writer:
        waiting: list[pa.Table] = []
        count = size = 0
        for read in _read(table, group, schema):
            rows = read if staying is None else read.filter(staying)
            waiting.append(rows)
            count += rows.num_rows
            size += rows.nbytes
            if count >= ROW_GROUP_ROWS or size >= _GROUP_BYTES:
                writer.write_table(pa.concat_tables(waiting))
                waiting.clear()
                count = size = 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    sync(to)


def _read(table: Path, group: Sequence[Part], schema: pa.Schema) -> Iterator[pa.Table]:
    for part in group:
        with closing(pq.ParquetFile(table / part.name)) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield conformed(pa.Table.from_batches([batch]), schema)
