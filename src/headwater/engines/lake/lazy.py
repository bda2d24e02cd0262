"""The lake of a process that may never ask it anything, as one that only serves models: loaded when it does."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa

from headwater.core.setting_sections import LakeSettings
from headwater.engines.lake.protocol import AppTransaction, Expiry, TableState, TableStore, Upkeep


class LazyTableStore:
    """A ``TableStore`` in a folder, whose libraries take 20 MB that not every process has to spend."""

    def __init__(self, root: Path, settings: LakeSettings) -> None:
        """Load nothing yet."""
        self._root = root
        self._settings = settings
        self._lock = threading.Lock()
        self._store: TableStore | None = None

    def append(self, stream: str, rows: pa.Table, transaction: AppTransaction) -> int:
        """Append rows durably, once."""
        return self._loaded().append(stream, rows, transaction)

    def committed(self, stream: str, app_id: str) -> int | None:
        """Return the last transaction version of a writer, or None."""
        return self._loaded().committed(stream, app_id)

    def state(self, stream: str) -> TableState | None:
        """Return the newest version of a table, or None if it does not exist."""
        return self._loaded().state(stream)

    def state_at(self, stream: str, version: int) -> TableState | None:
        """Return an earlier version of a table, or None when it is gone."""
        return self._loaded().state_at(stream, version)

    def lost(self) -> list[str]:
        """Return the tables that this process has seen and that are there no more."""
        return [] if self._store is None else self._store.lost()

    def streams(self, environment_id: str) -> list[str]:
        """Return the tables of an environment."""
        return self._loaded().streams(environment_id)

    def maintain(self, stream: str) -> Upkeep:
        """Compact small files, checkpoint and vacuum when due."""
        return self._loaded().maintain(stream)

    def expire(self, stream: str, expiry: Expiry) -> int:
        """Delete rows that have outlived their retention; return how many."""
        return self._loaded().expire(stream, expiry)

    def _loaded(self) -> TableStore:
        if self._store is None:
            with self._lock:
                if self._store is None:
                    from headwater.engines.lake.delta import DeltaTableStore  # noqa: PLC0415 - that is the point

                    self._store = DeltaTableStore(self._root, self._settings)
        return self._store
