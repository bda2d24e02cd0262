"""Which version of each table a query is pinned to: the newest, as the lake says within a few milliseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import TableState, TableStore
from headwater.services.kit.tables import table_state

FRESH_SECONDS: Final = 0.005

States = tuple[TableState | None, ...]


class TableVersions:
    """Asks the lake in threads of its own, once for all requests that come within ``FRESH_SECONDS``.

    A row that the lake has when a request arrives is seen by it, but for those few milliseconds.
    """

    def __init__(self, journal: Journal, lake: TableStore) -> None:
        """Ask ``lake``, and ``journal`` whether a table that is not there should be."""
        self._journal = journal
        self._lake = lake
        self._lost: set[str] = set()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="table-versions")
        self._known: dict[tuple[str, ...], tuple[float, States]] = {}
        self._asking: dict[tuple[str, ...], asyncio.Task[States]] = {}

    def recent(self, streams: tuple[str, ...]) -> States | None:
        """Return the states if they were asked for just now."""
        known = self._known.get(streams)
        if known is None or time.monotonic() - known[0] > FRESH_SECONDS:
            return None
        return known[1]

    async def newest(self, streams: tuple[str, ...]) -> States:
        """Return the newest state of each stream; None for one that never had a row.

        Raises:
            HeadwaterError: ``storage_unavailable`` when a table with rows is gone.
        """
        recent = self.recent(streams)
        if recent is not None:
            return recent
        asking = self._asking.get(streams)
        if asking is None:
            asking = self._asking[streams] = asyncio.create_task(self._ask(streams))
        return await asyncio.shield(asking)

    def lost(self) -> list[str]:
        """Return the streams whose tables are known to be gone. Waits for nothing."""
        return sorted(self._lost.union(self._lake.lost()))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)

    async def _ask(self, streams: tuple[str, ...]) -> States:
        began = time.monotonic()
        try:
            states = await asyncio.get_running_loop().run_in_executor(self._threads, self._read, streams)
            self._known[streams] = (began, states)
        finally:
            del self._asking[streams]
        return states

    def _read(self, streams: Sequence[str]) -> States:
        return tuple(map(self._state, streams))

    def _state(self, stream: str) -> TableState | None:
        try:
            state = table_state(self._journal, self._lake, stream)
        except HeadwaterError as error:
            # Those that the lake has seen it watches itself, also while nobody asks for them.
            if error.code == "storage_unavailable" and stream not in self._lake.lost():
                self._lost.add(stream)
            raise
        self._lost.discard(stream)
        return state
