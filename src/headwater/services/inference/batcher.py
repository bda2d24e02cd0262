"""Work-conserving micro-batching: what came in during one turn of the event loop, or while the last batch ran, is one.

There is no timer unless a model asks for one: a lone request runs at once. A model in this process runs on the loop
itself, because small ones get slower, not faster, in threads; one that runs elsewhere is kept as busy as it wants.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

import msgspec

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec
from headwater.engines.models.protocol import AsyncExecutor, Executor
from headwater.services.inference.batch import Batch, Doubtful, Inputs, Share, merge, run_async, run_sync
from headwater.services.inference.pace import Pace

__all__ = ["AsyncBatcher", "Batch", "Batcher", "Doubtful", "MicroBatcher", "Share", "make_batcher"]

INLINE_SECONDS: Final = 100e-6
_CROWDED_TURNS: Final = 32
_SINGLE_CODES: Final = frozenset({"model_failed"})
_SERVING: Final = ServingSpec()

Ran = Callable[[int, float, float], None]
"""Told of each run: its rows, its seconds, and the seconds that its oldest request had waited."""


class _Waiting(msgspec.Struct):
    inputs: Inputs
    deadline: float | None
    since: float
    future: asyncio.Future[Share]
    is_running: bool = False


class Batcher(Protocol):
    """The queue in front of an executor. Used from one event loop; ``serving`` may be replaced at any time."""

    serving: ServingSpec

    @property
    def is_full(self) -> bool:
        """Return whether another request would find no room."""
        ...

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits and nothing runs."""
        ...

    def wait_seconds(self) -> float:
        """Return how long a request that came now would wait before it ran."""
        ...

    def run_now(self, inputs: Inputs) -> Share | None:
        """Run rows at once where nothing is to be gained by waiting for company; None where they had better queue."""
        ...

    def submit(self, inputs: Inputs, *, deadline: float | None = None) -> asyncio.Future[Share]:
        """Queue rows; the future has their share of a batch, or ``Doubtful``, or a ``HeadwaterError``.

        Args:
            inputs: the rows.
            deadline: instant of ``time.monotonic`` after which nobody waits for the answer.
        """
        ...


class _Queue:
    """Requests in order of arrival, and how long they will wait."""

    def __init__(self, serving: ServingSpec, ran: Ran | None) -> None:
        self.serving = serving
        self._ran = ran
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self.pace = Pace()

    @property
    def is_full(self) -> bool:
        """Return whether another request would find no room."""
        return self._waiting_rows >= self.serving.max_waiting_rows

    def wait_seconds(self) -> float:
        """Return how long a request that came now would wait before it ran."""
        return self.pace.seconds(self._waiting_rows, self.serving.max_batch_rows)

    def _put(self, inputs: Inputs, deadline: float | None) -> _Waiting:
        item = _Waiting(inputs, deadline, time.monotonic(), asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        self._waiting_rows += len(inputs)
        return item

    def _take(self) -> list[_Waiting]:
        """Return the next batch: whoever waits still, up to its bound of rows."""
        taken: list[_Waiting] = []
        count = 0
        waiting = self._waiting
        most = self.serving.max_batch_rows
        while waiting and (not taken or count + len(waiting[0].inputs) <= most):
            item = waiting.popleft()
            self._waiting_rows -= len(item.inputs)
            if item.future.done():
                continue
            if item.deadline is not None and time.monotonic() > item.deadline:
                item.future.set_exception(too_late())
                continue
            item.is_running = True
            taken.append(item)
            count += len(item.inputs)
        return taken

    def _observe(self, rows: int, began: float, since: float) -> None:
        seconds = time.monotonic() - began
        self.pace.observe(rows, seconds)
        if self._ran is not None:
            self._ran(rows, seconds, began - since)


class MicroBatcher(_Queue):
    """The ``Batcher`` of a model that runs on the event loop."""

    def __init__(self, executor: Executor, serving: ServingSpec = _SERVING, ran: Ran | None = None) -> None:
        """Run ``executor``."""
        super().__init__(serving, ran)
        self._executor = executor
        self._is_scheduled = False
        self._has_run = False  # in this turn of the loop
        self._crowded = 0  # turns in a row with a single request until one is taken for alone again

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits; what runs keeps everybody else from asking."""
        return not self._waiting

    def run_now(self, inputs: Inputs) -> Share | None:
        """Run rows at once where they are alone of late and a run costs little: company makes a run cheaper for all."""
        if (
            self._is_scheduled
            or self._crowded
            or not 0 < self.pace.fixed < INLINE_SECONDS
            or self.serving.batch_wait_us
        ):
            return None
        if self._has_run:
            self._crowded = _CROWDED_TURNS
            return None
        self._has_run = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        began = time.monotonic()
        batch = run_sync(self._executor, inputs, check_large=not inputs.is_exact)
        rows = len(inputs)
        self._observe(rows, began, began)
        return Share(batch, 0, rows)

    def submit(self, inputs: Inputs, *, deadline: float | None = None) -> asyncio.Future[Share]:
        """Queue rows for the next batch."""
        item = self._put(inputs, deadline)
        if not self._is_scheduled:
            self._is_scheduled = True
            _soon(self._flush, self.serving.batch_wait_us)
        return item.future

    def _end_turn(self) -> None:
        self._has_run = False

    def _flush(self) -> None:
        taken = self._take()
        if taken:
            self._crowded = _CROWDED_TURNS if len(taken) > 1 else max(self._crowded - 1, 0)
            self._run(taken)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._is_scheduled = False

    def _run(self, items: Sequence[_Waiting]) -> None:
        """Run requests as one batch; when that fails, one by one, so that only the culprit fails."""
        began = time.monotonic()
        try:
            inputs = merge([item.inputs for item in items], takes_matrix=self._executor.takes_matrix)
            batch = run_sync(self._executor, inputs, check_large=not all(item.inputs.is_exact for item in items))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            if len(items) == 1:
                items[0].future.set_exception(error)
                return
            for item in items:
                self._run([item])
            return
        self._observe(hand_out(items, batch), began, items[0].since)


class AsyncBatcher(_Queue):
    """The ``Batcher`` of a model that runs elsewhere: as many runs under way as keep it busy, the rest gathers."""

    def __init__(self, executor: AsyncExecutor, serving: ServingSpec = _SERVING, ran: Ran | None = None) -> None:
        """Run ``executor``."""
        super().__init__(serving, ran)
        self._executor = executor
        self._under_way: set[asyncio.Task[None]] = set()
        self._rows_under_way = 0
        self._pumps: asyncio.Handle | None = None

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits and nothing runs."""
        return not self._waiting and not self._under_way

    def wait_seconds(self) -> float:
        """Return how long a request that came now would wait before it ran."""
        if len(self._under_way) < self._executor.depth:
            return 0.0
        ahead = self._waiting_rows + self._rows_under_way
        # Runs that are under way together share what runs them, as a rule: they are counted one after another.
        return self.pace.seconds(ahead, self.serving.max_batch_rows) / self._executor.depth

    def run_now(self, inputs: Inputs) -> Share | None:
        """Return None: nothing runs here."""
        del inputs
        return None

    def submit(self, inputs: Inputs, *, deadline: float | None = None) -> asyncio.Future[Share]:
        """Queue rows for the next run."""
        item = self._put(inputs, deadline)
        if deadline is not None:
            _expire(item, deadline)
        if self._pumps is None:
            self._pumps = _soon(self._pump, self.serving.batch_wait_us)
        elif self._waiting_rows >= self.serving.max_batch_rows:
            self._pump()
        return item.future

    def _pump(self) -> None:
        """Begin as many runs as there is room for."""
        if self._pumps is not None:
            self._pumps.cancel()
            self._pumps = None
        while self._waiting and len(self._under_way) < self._executor.depth:
            taken = self._take()
            if taken:
                task = asyncio.get_running_loop().create_task(self._run(taken))
                self._under_way.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._pump()

    async def _run(self, items: Sequence[_Waiting]) -> None:
        """Run requests as one batch; when their rows are at fault, one by one, so that only the culprit fails."""
        began = time.monotonic()
        rows = sum(len(item.inputs) for item in items)
        self._rows_under_way += rows
        try:
            inputs = merge([item.inputs for item in items], takes_matrix=self._executor.takes_matrix)
            check_large = not all(item.inputs.is_exact for item in items)
            batch = await run_async(self._executor, inputs, check_large=check_large)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            if len(items) > 1 and _is_of_rows(error):
                for item in items:
                    await self._run([item])
            else:
                _fail(items, error)
        except asyncio.CancelledError:
            _fail(items, HeadwaterError("model_unavailable", "the server is stopping", retry_after_seconds=1))
            raise
        else:
            hand_out(items, batch)
            self._observe(rows, began, items[0].since)
        finally:
            self._rows_under_way -= rows


def make_batcher(
    executor: Executor | AsyncExecutor, serving: ServingSpec = _SERVING, ran: Ran | None = None
) -> Batcher:
    """Return the queue that suits an executor."""
    if is_async(executor):
        return AsyncBatcher(cast("AsyncExecutor", executor), serving, ran)
    return MicroBatcher(cast("Executor", executor), serving, ran)


def is_async(executor: Executor | AsyncExecutor) -> bool:
    """Return whether a model runs elsewhere."""
    return hasattr(executor, "depth")


def hand_out(items: Sequence[_Waiting], batch: Batch) -> int:
    """Give everybody who waits still their share; return how many rows there were."""
    start = 0
    for item in items:
        stop = start + len(item.inputs)
        if not item.future.done():
            item.future.set_result(Share(batch, start, stop))
        start = stop
    return start


def too_late() -> HeadwaterError:
    """Return the error for a request that was not run any more."""
    return HeadwaterError(
        "overloaded", "the deadline passed while the request waited; it was not run", retry_after_seconds=1
    )


def _soon(callback: Callable[[], None], wait_us: int) -> asyncio.Handle:
    """Call back at the end of this turn of the loop, so that requests of one turn share a run, or after a wait."""
    loop = asyncio.get_running_loop()
    return loop.call_later(wait_us / 1e6, callback) if wait_us else loop.call_soon(callback)


def _is_of_rows(error: Exception) -> bool:
    """Return whether other rows may well have a better answer."""
    return not isinstance(error, HeadwaterError) or error.code in _SINGLE_CODES


def _fail(items: Sequence[_Waiting], error: BaseException) -> None:
    for item in items:
        if not item.future.done():
            item.future.set_exception(error)


def _expire(item: _Waiting, deadline: float) -> None:
    """Tell who waits when the deadline passes, whatever the model does meanwhile."""

    def expire() -> None:
        if not item.future.done():
            error = HeadwaterError("model_timeout", "the deadline passed before the model had answered")
            item.future.set_exception(error if item.is_running else too_late())

    timer = asyncio.get_running_loop().call_later(max(deadline - time.monotonic(), 0), expire)
    item.future.add_done_callback(lambda _future: timer.cancel())
