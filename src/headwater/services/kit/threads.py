"""Threads of one's own for work that blocks for long, so that it takes none from what everybody else waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from headwater.core.errors import HeadwaterError

T = TypeVar("T")


class Threads:
    """A few threads with a bounded queue in front. Used from one event loop."""

    def __init__(self, name: str, *, workers: int, waiting: int) -> None:
        """Run ``workers`` calls at once and let ``waiting`` more wait."""
        self._name = name
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._most = workers + waiting
        self._under_way = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns.

        The thread goes on when the caller is cancelled, and its place stays taken until it ends.

        Raises:
            HeadwaterError: ``overloaded`` at once when too many wait already.
        """
        if self._under_way >= self._most:
            raise HeadwaterError(
                "overloaded", f"too much of this ({self._name}) is under way", hint="try again", retry_after_seconds=2
            )
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._leave)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Let go of what waits; what runs ends when the journal closes under it, or by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, future: asyncio.Future[T]) -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that nobody complains when the caller has gone
