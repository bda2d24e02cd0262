"""Waiting for newer snapshots: one small query, a few times a second, for however many services wait.

Any process may have written the newer snapshot (a command, a worker, this server), so the database is asked rather
than a signal awaited. While nobody waits, nothing is asked.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from django.db import Error, connection, connections
from django.db.models import Max

from headwater.control.snapshots.models import Snapshot
from headwater.core.logging import get_logger

POLL_SECONDS: Final = 0.1
TROUBLED_SECONDS: Final = 1.0
"""The pause while the database cannot be asked."""
_log = get_logger(__name__)

Heads = Mapping[uuid.UUID, int]


class Watch:
    """The newest numbers by environment, and who waits for them to grow. One per event loop."""

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._heads: Heads = {}
        self._waiting = 0
        self._poller: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._stopped = False
        # A thread of its own keeps one connection open for the polls, for as long as somebody waits.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshot-watch")

    async def wait_beyond(self, environment_id: uuid.UUID, number: int, *, seconds: float) -> bool:
        """Return True once ``environment_id`` has a number above ``number``; False after ``seconds`` or on stopping."""
        deadline = asyncio.get_running_loop().time() + seconds
        self._waiting += 1
        try:
            if self._poller is None:
                self._poller = asyncio.create_task(self._poll())
            while not self._stopped:
                if self._heads.get(environment_id, 0) > number:
                    return True
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    return False
                try:
                    await asyncio.wait_for(self._changed.wait(), left)
                except TimeoutError:
                    return False
            return False
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Let everybody who waits go with what there is."""
        self._stopped = True
        self._changed.set()
        self._thread.submit(connections.close_all)
        self._thread.shutdown(wait=False)

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting and not self._stopped:
                heads = await loop.run_in_executor(self._thread, _read_heads)
                if heads is not None and heads != self._heads:
                    self._heads = heads
                    self._changed.set()
                    self._changed = asyncio.Event()
                await asyncio.sleep(POLL_SECONDS if heads is not None else TROUBLED_SECONDS)
        finally:
            self._poller = None
            with suppress(RuntimeError):  # stopped, which closes it too
                self._thread.submit(connections.close_all)


def _read_heads() -> Heads | None:
    """Return the newest numbers, or None while the database cannot be asked: waiting goes on meanwhile."""
    try:
        rows = Snapshot.unscoped.order_by().values_list("environment_id").annotate(Max("number"))
        return dict(rows)
    except Error as error:
        connection.close()
        _log.warning("snapshot_poll_failed", error=str(error))
        return None


_watches: dict[asyncio.AbstractEventLoop, Watch] = {}


def watch() -> Watch:
    """Return this event loop's watch."""
    loop = asyncio.get_running_loop()
    if loop not in _watches:
        _watches.clear()
        _watches[loop] = Watch()
    return _watches[loop]
