"""A table store in memory, for services that are handed one but write nothing to it."""

from __future__ import annotations

import pyarrow as pa

from headwater.engines.lake.protocol import AppTransaction, Expiry, TableState, Upkeep


class MemoryLake:
    def __init__(self) -> None:
        self.tables: dict[str, list[pa.Table]] = {}

    def append(self, stream: str, rows: pa.Table, transaction: AppTransaction) -> int:  # noqa: ARG002
        self.tables.setdefault(stream, []).append(rows)
        return len(self.tables[stream]) - 1

    def committed(self, stream: str, app_id: str) -> int | None:  # noqa: ARG002
        return None

    def state(self, stream: str) -> TableState | None:  # noqa: ARG002
        return None

    def state_at(self, stream: str, version: int) -> TableState | None:  # noqa: ARG002
        return None

    def lost(self) -> list[str]:
        return []

    def streams(self, environment_id: str) -> list[str]:
        return sorted(stream for stream in self.tables if stream.startswith(f"{environment_id}/"))

    def expire(self, stream: str, expiry: Expiry) -> int:  # noqa: ARG002
        return 0

    def maintain(self, stream: str) -> Upkeep:  # noqa: ARG002
        return Upkeep()
