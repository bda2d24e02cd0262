"""What a table store promises: exactly-once appends, pinned versions, upkeep by one writer.

Tables are named by stream, ``<environment id>/<dataset>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class AppTransaction:
    """The marker that makes an append happen once: a writer's id and a number that only grows.

    ``first`` is the lowest number whose rows this append carries (default: ``version`` alone). A table that already
    stands between ``first`` and ``version`` has some of the rows and not the others: such an append is refused.
    """

    app_id: str
    version: int
    first: int | None = None


@dataclass(frozen=True, slots=True)
class TableState:
    """One version of a table: its Parquet files (absolute paths or URLs), schema and row count.

    ``committed_at`` is when it came to be; None where the log does not say so any more.
    """

    stream: str
    version: int
    files: tuple[str, ...]
    schema: pa.Schema
    rows: int
    committed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What maintenance did."""

    compacted: int = 0
    vacuumed: int = 0
    checkpointed: bool = False


@dataclass(frozen=True, slots=True)
class Expiry:
    """Which rows have outlived their retention: by whom they belong to (``owner``) and an instant (``clock``).

    A row whose ``owner`` column names a key of ``before`` goes when its ``clock`` column is earlier than that instant.
    """

    owner: str
    clock: str
    before: Mapping[str, datetime]


class TableStore(Protocol):
    """Tables of record."""

    def append(self, stream: str, rows: pa.Table, transaction: AppTransaction) -> int:
        """Append ``rows`` durably, once: when ``transaction`` (or a later one of its app) is in the table, do nothing.

        Creates the table on its first rows; columns that the table lacks are added as nullable ones.

        Returns:
            The table version that holds the rows.

        Raises:
            HeadwaterError: ``storage_exhausted`` when the disk is full, ``schema_mismatch`` when a column does not fit
                the table exactly, ``storage_unavailable`` when the table was there before and is gone, ``conflict``
                when the table has a part of the rows; nothing was committed.
        """
        ...

    def committed(self, stream: str, app_id: str) -> int | None:
        """Return the last transaction version of a writer, or None."""
        ...

    def state(self, stream: str) -> TableState | None:
        """Return the newest version of a table, or None if it does not exist. Cheap when nothing changed.

        Raises:
            HeadwaterError: ``storage_unavailable`` when this process has seen the table and it is there no more.
        """
        ...

    def state_at(self, stream: str, version: int) -> TableState | None:
        """Return an earlier version of a table, or None when there is none such or its files are gone. Not cheap."""
        ...

    def lost(self) -> list[str]:
        """Return the tables that this process has seen and that are there no more. Waits for nothing."""
        ...

    def streams(self, environment_id: str) -> list[str]:
        """Return the tables of an environment."""
        ...

    def maintain(self, stream: str) -> Upkeep:
        """Compact small files, checkpoint and vacuum when due. Only the sealer may call this."""
        ...

    def expire(self, stream: str, expiry: Expiry) -> int:
        """Delete rows that have outlived their retention; return how many. Only the sealer may call this.

        Large tables may need several calls. Versions that readers are pinned to stay readable for the vacuum's
        retention, after which the rows are gone from the disk.
        """
        ...
