"""Work-conserving micro-batching: what came in during one turn of the event loop, or while the last batch ran, is one.

There is no timer unless a model asks for one: a lone request runs at once. A model in this process runs on the loop
itself, because small ones get slower, not faster, in threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, cast

from headwater.core.snapshot import ServingSpec
from headwater.engines.models.protocol import AsyncExecutor, Executor
from headwater.services.inference.async_batcher import AsyncBatcher
from headwater.services.inference.batch import Batch, Doubtful, Inputs, Share, merge, run_sync
from headwater.services.inference.queueing import SERVING, Batcher, Expected, Queue, Ran, Waiting, hand_out, soon

__all__ = ["Batch", "Batcher", "Doubtful", "MicroBatcher", "Share", "make_batcher"]

INLINE_SECONDS: Final = 100e-6
_CROWDED_TURNS: Final = 32


class MicroBatcher(Queue):
    """The ``Batcher`` of a model that runs on the event loop."""

    def __init__(self, executor: Executor, serving: ServingSpec = SERVING, ran: Ran | None = None) -> None:
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
        self.observe_run(rows, began, began)
        return Share(batch, 0, rows)

    def submit(self, inputs: Inputs, *, deadline: float | None = None) -> asyncio.Future[Share]:
        """Queue rows for the next batch."""
        item = Expected(inputs, deadline)
        self.enqueue(item)
        return item.future

    def enqueue(self, item: Waiting) -> None:
        """Queue a request for the next batch."""
        self.put(item)
        if not self._is_scheduled:
            self._is_scheduled = True
            soon(self._flush, self.serving.batch_wait_us)

    def _end_turn(self) -> None:
        self._has_run = False

    def _flush(self) -> None:
        try:
            taken = self.take()
            if taken:
                self._crowded = _CROWDED_TURNS if len(taken) > 1 else max(self._crowded - 1, 0)
                self._run(taken)
        finally:  # whatever breaks here, who waits must have their turn
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._flush)
            else:
                self._is_scheduled = False

    def _run(self, items: Sequence[Waiting]) -> None:
        """Run requests as one batch; when that fails, one by one, so that only the culprit fails."""
        began = time.monotonic()
        try:
            inputs = merge([item.inputs for item in items], takes_matrix=self._executor.takes_matrix)
            batch = run_sync(self._executor, inputs, check_large=not all(item.inputs.is_exact for item in items))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            if len(items) == 1:
                items[0].fail(error)
                return
            for item in items:
                self._run([item])
            return
        self.observe_run(hand_out(items, batch), began, items[0].since)


def make_batcher(executor: Executor | AsyncExecutor, serving: ServingSpec = SERVING, ran: Ran | None = None) -> Batcher:
    """Return the queue that suits an executor."""
    if is_async(executor):
        return AsyncBatcher(cast("AsyncExecutor", executor), serving, ran)
    return MicroBatcher(cast("Executor", executor), serving, ran)


def is_async(executor: Executor | AsyncExecutor) -> bool:
    """Return whether a model runs elsewhere."""
    return hasattr(executor, "depth")
