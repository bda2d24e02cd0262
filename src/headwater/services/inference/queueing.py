"""What queues in front of executors have in common: requests in order of arrival, and how long they will wait."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec
from headwater.services.inference.batch import Batch, Inputs, Share
from headwater.services.inference.pace import Pace

SERVING: Final = ServingSpec()

Ran = Callable[[int, float, float], None]
"""Told of each run: its rows, its seconds, and the seconds that its oldest request had waited."""


class Waiting(ABC):
    """A request in a queue: its rows, the instants until which and since when it waits, and how it learns what came.

    ``settle``, where there is one, is called at the end of a run that answered it: once for all that have the same.
    """

    __slots__ = ("deadline", "inputs", "is_running", "rows", "since")

    settle: Callable[[], None] | None = None

    def __init__(self, inputs: Inputs, deadline: float | None, since: float) -> None:
        """Wait for an answer to ``inputs``."""
        self.inputs = inputs
        self.rows = len(inputs)
        self.deadline = deadline
        self.since = since
        self.is_running = False

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Return whether it was answered, failed, or nobody waits any more."""

    @abstractmethod
    def answer(self, share: Share) -> None:
        """Take what the model said; must not raise."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """Take what went wrong: ``Doubtful``, a ``HeadwaterError``, or something unforeseen; must not raise."""


class Expected(Waiting):
    """A request for which somebody awaits a future."""

    __slots__ = ("future",)

    def __init__(self, inputs: Inputs, deadline: float | None) -> None:
        """Wait from now on."""
        super().__init__(inputs, deadline, time.monotonic())
        self.future: asyncio.Future[Share] = asyncio.get_running_loop().create_future()

    @property
    def is_done(self) -> bool:
        """Return whether the future is done."""
        return self.future.done()

    def answer(self, share: Share) -> None:
        """Resolve the future."""
        self.future.set_result(share)

    def fail(self, error: BaseException) -> None:
        """Raise in whoever awaits the future."""
        self.future.set_exception(error)


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

    def enqueue(self, item: Waiting) -> None:
        """Queue a request that learns by itself what came; where ``is_async`` holds, it has no deadline."""
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

    def put(self, item: Waiting) -> None:
        """Queue a request."""
        self._waiting.append(item)
        self._waiting_rows += item.rows

    def take(self) -> list[Waiting]:
        """Return the next batch: whoever waits still, up to its bound of rows."""
        taken: list[Waiting] = []
        count = 0
        waiting = self._waiting
        most = self.serving.max_batch_rows
        while waiting and (not taken or count + waiting[0].rows <= most):
            item = waiting.popleft()
            self._waiting_rows -= item.rows
            if item.is_done:
                continue
            if item.deadline is not None and time.monotonic() > item.deadline:
                item.fail(too_late())
                continue
            item.is_running = True
            taken.append(item)
            count += item.rows
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
    settle = None
    for item in items:
        stop = start + item.rows
        if not item.is_done:
            item.answer(Share(batch, start, stop))
            settle = item.settle or settle
        start = stop
    if settle is not None:
        settle()
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
