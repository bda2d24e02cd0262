"""Micro-batching for models that run elsewhere: each is kept as busy as it wants, and the rest gathers meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec
from headwater.engines.models.protocol import AsyncExecutor
from headwater.services.inference.batch import Inputs, Share, merge, run_async
from headwater.services.inference.queueing import SERVING, Expected, Queue, Ran, Waiting, hand_out, soon, too_late

_SINGLE_CODES: Final = frozenset({"model_failed"})


class AsyncBatcher(Queue):
    """The ``Batcher`` of a model that runs elsewhere: as many runs under way as keep it busy, the rest gathers."""

    def __init__(self, executor: AsyncExecutor, serving: ServingSpec = SERVING, ran: Ran | None = None) -> None:
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
        item = Expected(inputs, deadline)
        if deadline is not None:
            _expire(item, deadline)
        self.enqueue(item)
        return item.future

    def enqueue(self, item: Waiting) -> None:
        """Queue a request for the next run."""
        self.put(item)
        if self._pumps is None:
            self._pumps = soon(self._pump, self.serving.batch_wait_us)
        elif self._waiting_rows >= self.serving.max_batch_rows:
            self._pump()

    def _pump(self) -> None:
        """Begin as many runs as there is room for."""
        if self._pumps is not None:
            self._pumps.cancel()
            self._pumps = None
        while self._waiting and len(self._under_way) < self._executor.depth:
            taken = self.take()
            if taken:
                task = asyncio.get_running_loop().create_task(self._run(taken))
                self._under_way.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._pump()

    async def _run(self, items: Sequence[Waiting]) -> None:
        """Run requests as one batch; when their rows are at fault, one by one, so that only the culprit fails."""
        began = time.monotonic()
        rows = sum([item.rows for item in items])
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
            self.observe_run(rows, began, items[0].since)
        finally:
            self._rows_under_way -= rows


def _is_of_rows(error: Exception) -> bool:
    """Return whether other rows may well have a better answer."""
    return not isinstance(error, HeadwaterError) or error.code in _SINGLE_CODES


def _fail(items: Sequence[Waiting], error: BaseException) -> None:
    for item in items:
        if not item.is_done:
            item.fail(error)


def _expire(item: Expected, deadline: float) -> None:
    """Tell who waits when the deadline passes, whatever the model does meanwhile."""

    def expire() -> None:
        if not item.future.done():
            error = HeadwaterError("model_timeout", "the deadline passed before the model had answered")
            item.future.set_exception(error if item.is_running else too_late())

    timer = asyncio.get_running_loop().call_later(max(deadline - time.monotonic(), 0), expire)
    item.future.add_done_callback(lambda _future: timer.cancel())
