"""Running queries in threads: with a deadline, an end when nobody listens any more, and a bound on how many."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from headwater.core.errors import HeadwaterError
from headwater.engines.query.protocol import Reading
from headwater.services.query.admission import Admission, Slot
from headwater.services.query.holding import Hold, Holding
from headwater.services.query.result import Result, Shape, read_result

T = TypeVar("T")
STREAM_SECONDS: Final = 300.0  # how long a result that is computed while it is read may take
_INTERRUPT_EVERY_SECONDS: Final = 0.05
_END: Final = object()


class Execution:
    """A query that began: its result, and what has to be given back. ``close`` it, whatever happens."""

    def __init__(self, runner: QueryRunner, reading: Reading, slot: Slot, deadline: float) -> None:
        """Hold a reading and its slot; ``deadline`` is in ``time.monotonic`` seconds."""
        self._runner = runner
        self._reading = reading
        self._slot = slot
        self._deadline = deadline
        self._hold: Hold | None = None
        self.result: Result | None = None
        self.queue_seconds = 0.0
        self.query_seconds = 0.0

    async def run(self, shape: Shape) -> Result:
        """Read the head of the result.

        Raises:
            HeadwaterError: ``query_timeout``, ``overloaded`` when slow readers hold too much, and whatever the query
                fails with.
        """
        began = time.monotonic()
        result = await self._within(lambda: read_result(self._reading, shape))
        self._hold = self._runner.holding.take(result.held_bytes) if result.held_bytes else None
        self.result = result
        self.query_seconds = time.monotonic() - began
        if result.is_live:
            self._deadline = max(self._deadline, time.monotonic() + STREAM_SECONDS)
        else:
            self._release()
            self._deadline = math.inf  # nothing runs any more: a slow reader may take his time
        return result

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Return a large result piece by piece; the next is made when the one before was taken."""
        assert self.result is not None
        source = self.result.chunks
        while True:
            chunk = await self._within(lambda: next(source, _END))
            if not isinstance(chunk, bytes):
                return
            if chunk:
                yield chunk

    def close(self) -> None:
        """Give back the connection, the slot and what is held in memory."""
        self._release()
        if self._hold is not None:
            self._hold.release()

    async def _within(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread; interrupt the query when its time is up or the caller is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._runner.threads, work)
        try:
            done, _ = await asyncio.wait({future}, timeout=self._remaining())
        except asyncio.CancelledError:
            await self._stop(future)
            raise
        if done:
            return future.result()
        await self._stop(future)
        raise HeadwaterError(
            "query_timeout", "the query ran into its time limit", hint="ask for less, or raise timeout_seconds"
        )

    def _remaining(self) -> float | None:
        return None if self._deadline == math.inf else max(0.0, self._deadline - time.monotonic())

    async def _stop(self, future: asyncio.Future[T]) -> None:
        """Interrupt until the thread has ended: one interrupt may fall between two statements."""
        while not future.done():
            self._reading.interrupt()
            await asyncio.wait({future}, timeout=_INTERRUPT_EVERY_SECONDS)
        future.exception()  # looked at, so that nobody complains

    def _release(self) -> None:
        self._reading.close()
        self._slot.release()


class QueryRunner:
    """The threads that queries run in, and the way in."""

    def __init__(self, concurrency: int) -> None:
        """Run ``concurrency`` queries at once."""
        self.admission = Admission(concurrency)
        self.holding = Holding()
        # One more than there are slots: large results that need no query any more are encoded here too.
        self.threads = ThreadPoolExecutor(concurrency + 1, thread_name_prefix="query")

    async def begin(self, reading: Reading, *, timeout_seconds: float) -> Execution:
        """Wait for a slot and return an execution; the deadline counts from now. Raises ``overloaded``."""
        began = time.monotonic()
        slot = await self.admission.enter(timeout_seconds)
        execution = Execution(self, reading, slot, began + timeout_seconds)
        execution.queue_seconds = time.monotonic() - began
        return execution

    def close(self) -> None:
        """End the threads once they are done."""
        self.threads.shutdown(wait=True)
