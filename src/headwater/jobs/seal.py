"""One step of sealing: the oldest blocks of a stream become one Delta commit, once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from headwater.core.clock import Clock, epoch_micros
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import LakeSettings
from headwater.engines.journal.protocol import Backlog, Journal, Seal
from headwater.engines.lake.losses import lost
from headwater.engines.lake.protocol import AppTransaction, TableStore
from headwater.jobs.segment import build_segment


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one step moved; ``table`` are the rows themselves."""

    stream: str
    rows: int
    through_block: int
    table_version: int
    table: pa.Table = field(repr=False, compare=False)


def seal_segment(
    journal: Journal, lake: TableStore, backlog: Backlog, *, limits: LakeSettings, clock: Clock
) -> Sealed | None:
    """Move the oldest segment of ``backlog`` into the lake; None when nothing waits.

    The table itself remembers the last block it has, in the very commit that holds its rows. Whatever step the last
    attempt died at, this one finds out from there: blocks that the table has are only marked as sealed.

    Raises:
        HeadwaterError: from the journal or the lake; the step may simply be tried again.
    """
    stream = backlog.stream
    blocks = journal.read(stream, max_rows=limits.segment_max_rows, max_bytes=limits.segment_max_bytes)
    if not blocks:
        return None
    app_id = f"hw:{journal.uuid}:{stream}"
    done = lake.committed(stream, app_id)
    if done is None and journal.find_seal(stream, 0) is not None:
        raise lost(stream)  # a new table with only the newest rows would pass for all of them
    if done is not None and done >= blocks[0].id:
        if done > backlog.last_block:
            raise HeadwaterError(
                "conflict",
                f"the table of {stream} has block {done}, but the journal only knows {backlog.last_block}: "
                "it is older than the lake",
                hint="restore the journal and the lake from the same backup",
            )
        blocks = [block for block in blocks if block.id <= done]
    rows, taken = build_segment(blocks)
    last = blocks[taken - 1]
    version = lake.append(stream, rows, AppTransaction(app_id, last.id, first=blocks[0].id))
    journal.seal(Seal(stream, last.id, last.first_seq + last.block.rows - 1, version, epoch_micros(clock.now())))
    return Sealed(stream, rows.num_rows, last.id, version, rows)
