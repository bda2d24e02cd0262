"""Running queries in threads: with a deadline, an end when nobody listens any more, and a bound on how many."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from headwater.core.errors import HeadwaterError
from headwater.engines.query.protocol import Reading
from headwater.services.query.admission import Admission, Slot
from headwater.services.query.holding import Hold, Holding
from headwater.services.query.result import Result, Shape, read_result

T = TypeVar("T")
STREAM_SECONDS: Final = 300.0  # how long a result that is computed while it is read may take
SLOW_SECONDS: Final = 1.0
_INTERRUPT_EVERY_SECONDS: Final = 0.05
_SLOW_PRIORITY: Final = 10
_MAX_KNOWN: Final = 2_000
_CHUNK_BYTES: Final = 1 << 20


class Execution:
    """A query that began: its result, and what has to be given back. ``close`` it, whatever happens."""

    def __init__(self, runner: QueryRunner, lane: Lane, reading: Reading, slot: Slot, deadline: float) -> None:
        """Hold a reading and its slot of ``lane``; ``deadline`` is in ``time.monotonic`` seconds."""
        self._runner = runner
        self._lane = lane
        self._reading = reading
        self._slot = slot
        self._deadline = deadline
        self._hold: Hold | None = None
        self.result: Result | None = None
        self.label = ""
        self.queue_seconds = 0.0
        self.query_seconds = 0.0

    @property
    def tier(self) -> str:
        """Return what answers: ``accelerator`` or ``parquet``."""
        return self._reading.tier

    async def run(self, shape: Shape) -> Result:
        """Read the head of the result.

        Raises:
            HeadwaterError: ``query_timeout``, ``overloaded`` when slow readers hold too much, and whatever the query
                fails with.
        """
        began = time.monotonic()
        try:
            result = await self._within(lambda: self._read(shape))
        finally:
            self._runner.costs.note(self.label, time.monotonic() - began)
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
        """Return a large result piece by piece; the next one is made while the one before is sent, and no more."""
        assert self.result is not None
        source = self.result.chunks
        coming = asyncio.create_task(self._within(lambda: _gather(source)))
        try:
            while chunk := await coming:
                coming = asyncio.create_task(self._within(lambda: _gather(source)))
                yield chunk
        finally:
            coming.cancel()
            await asyncio.wait({coming})
            if not coming.cancelled():
                coming.exception()  # looked at, so that nobody complains

    def close(self) -> None:
        """Give back the connection, the slot and what is held in memory."""
        self._release()
        if self._hold is not None:
            self._hold.release()

    async def _within(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread; interrupt the query when its time is up or the caller is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._lane.threads, work)
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

    def _read(self, shape: Shape) -> Result:
        """Read the head, and let go of a connection that has no more to say: the event loop has no time for that."""
        result = read_result(self._reading, shape)
        if not result.is_live:
            self._reading.close()
        return result

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


class Costs:
    """How long the queries of each endpoint take, so that slow ones can be kept from the others."""

    def __init__(self) -> None:
        """Know nothing: what was never asked counts as quick."""
        self._seconds: OrderedDict[str, float] = OrderedDict()

    def note(self, label: str, seconds: float) -> None:
        """Take a measure into account; the newest counts for a third."""
        known = self._seconds.get(label)
        self._seconds[label] = seconds if known is None else known + (seconds - known) / 3
        self._seconds.move_to_end(label)
        if len(self._seconds) > _MAX_KNOWN:
            self._seconds.popitem(last=False)

    def is_slow(self, label: str) -> bool:
        """Return whether a query of this endpoint is likely to take long."""
        return self._seconds.get(label, 0.0) > SLOW_SECONDS


class Lane:
    """Threads and the slots for them."""

    def __init__(self, slots: int, name: str, initializer: Callable[[], None] | None = None) -> None:
        """Run ``slots`` queries at once; ``initializer`` is called in each new thread."""
        self.admission = Admission(slots)
        # One more than there are slots: large results that need no query any more are encoded here too.
        self.threads = ThreadPoolExecutor(slots + 1, thread_name_prefix=name, initializer=initializer)


class QueryRunner:
    """The threads that queries run in, and the way in.

    Endpoints whose queries take long have slots of their own and threads of the least priority, so that the others do
    not wait for them: neither for a slot nor for the processor.
    """

    def __init__(self, concurrency: int) -> None:
        """Run ``concurrency`` quick queries at once, and half as many slow ones beside them."""
        self.quick = Lane(concurrency, "query")
        self.slow = Lane(max(1, concurrency // 2), "slow-query", _step_back)
        self.costs = Costs()
        self.holding = Holding()

    def is_saturated(self, label: str) -> bool:
        """Return whether a query of this endpoint would have to wait behind others that wait already."""
        admission = self._lane(label).admission
        return admission.waiting >= admission.slots

    async def begin(self, reading: Reading, *, timeout_seconds: float, label: str = "") -> Execution:
        """Wait for a slot and return an execution; the deadline counts from now. Raises ``overloaded``.

        ``label`` names the endpoint, which may take all slots but one when there are several.
        """
        began = time.monotonic()
        lane = self._lane(label)
        slot = await lane.admission.enter(timeout_seconds, label)
        execution = Execution(self, lane, reading, slot, began + timeout_seconds)
        execution.label = label
        execution.queue_seconds = time.monotonic() - began
        return execution

    def close(self) -> None:
        """End the threads once they are done."""
        self.quick.threads.shutdown(wait=True)
        self.slow.threads.shutdown(wait=True)

    def _lane(self, label: str) -> Lane:
        return self.slow if self.costs.is_slow(label) else self.quick


def _gather(source: Iterator[bytes]) -> bytes:
    """Return the next pieces together, so that few of them change threads; nothing at the end."""
    pieces: list[bytes] = []
    size = 0
    for piece in source:
        pieces.append(piece)
        size += len(piece)
        if size >= _CHUNK_BYTES:
            break
    return b"".join(pieces)


def _step_back() -> None:
    """Give this thread less of the processor than others get; on Linux that is possible for one thread alone."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _SLOW_PRIORITY)
