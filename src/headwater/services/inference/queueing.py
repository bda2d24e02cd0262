"""What queues in front of executors have in common: requests in order of arrival, and how long they will wait."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec
from headwater.services.inference.batch import Batch, Inputs, Share
from headwater.services.inference.pace import Pace

SERVING: Final = ServingSpec()

Ran = Callable[[int, float, float], None]
"""Told of each run: its rows, its seconds, and the seconds that its oldest request had waited."""


class Waiting(msgspec.Struct):
    """A request in a queue."""

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


class Queue:
    """Requests in order of arrival, and how long they will wait."""

    def __init__(self, serving: ServingSpec, ran: Ran | None) -> None:
        """Begin empty."""
        self.serving = serving
        self._ran = ran
        self._waiting: deque[Waiting] = deque()
        self._waiting_rows = 0
        self.pace = Pace()

    @property
    def is_full(self) -> bool:
        """Return whether another request would find no room."""
        return self._waiting_rows >= self.serving.max_waiting_rows

    def wait_seconds(self) -> float:
        """Return how long a request that came now would wait before it ran."""
        return self.pace.seconds(self._waiting_rows, self.serving.max_batch_rows)

    def put(self, inputs: Inputs, deadline: float | None) -> Waiting:
        """Queue a request; its future has the answer."""
        item = Waiting(inputs, deadline, time.monotonic(), asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        self._waiting_rows += len(inputs)
        return item

    def take(self) -> list[Waiting]:
        """Return the next batch: whoever waits still, up to its bound of rows."""
        taken: list[Waiting] = []
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

    def observe_run(self, rows: int, began: float, since: float) -> None:
        """Learn from a run that began at one instant and whose oldest request had come at another."""
        seconds = time.monotonic() - began
        self.pace.observe(rows, seconds)
        if self._ran is not None:
            self._ran(rows, seconds, began - since)


def hand_out(items: Sequence[Waiting], batch: Batch) -> int:
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


def soon(callback: Callable[[], None], wait_us: int) -> asyncio.Handle:
    """Call back at the end of this turn of the loop, so that requests of one turn share a run, or after a wait."""
    loop = asyncio.get_running_loop()
    return loop.call_later(wait_us / 1e6, callback) if wait_us else loop.call_soon(callback)
