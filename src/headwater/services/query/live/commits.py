"""Noticing that a table has a new version: the lake is asked, many times a second, for as long as somebody watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import TableState, TableStore
from headwater.services.kit.tables import table_state

LOOK_SECONDS: Final = 0.02

Found = TableState | HeadwaterError | None
"""The newest version of a table, None for one that never had a row; or why it cannot be read."""


class Commits:
    """Reads the versions of tables in a thread of its own. Used from one event loop."""

    def __init__(self, journal: Journal, lake: TableStore) -> None:
        """Ask ``lake``, and ``journal`` whether a table that is not there should be."""
        self._journal = journal
        self._lake = lake
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-commits")

    async def look(self, streams: Iterable[str]) -> dict[str, Found]:
        """Return the newest version of each table."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, tuple(streams))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)

    def _read(self, streams: tuple[str, ...]) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for stream in streams:
            try:
                found[stream] = table_state(self._journal, self._lake, stream)
            except HeadwaterError as error:
                found[stream] = error
        return found


def is_news(before: Found, now: Found) -> bool:
    """Return whether a table is another one than before."""
    if isinstance(before, HeadwaterError) and isinstance(now, HeadwaterError):
        return (before.code, before.detail) != (now.code, now.detail)
    if isinstance(before, TableState) and isinstance(now, TableState):
        return before.version != now.version
    return before is not now
