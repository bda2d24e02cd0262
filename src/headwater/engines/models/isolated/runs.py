"""The runs that an isolated executor has yet to answer: what the worker has, and what waits for it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from headwater.core.errors import HeadwaterError
from headwater.engines.models.isolated.channel import Channel
from headwater.engines.models.isolated.frames import BrokenFrames

Answer = list[NDArray[Any]]


@dataclass(slots=True)
class Run:
    """One run. A suspect was under way when a worker died; it is tried once more, alone."""

    number: int
    rows: int
    frame: bytes
    future: asyncio.Future[Answer]
    is_suspect: bool = False


class RunQueue:
    """Runs in their order. Nothing is sent while there is no ``channel``."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.channel: Channel | None = None
        self.head_since = 0.0
        """Since when the worker has been at its oldest run, by ``time.monotonic``."""
        self._running: dict[int, Run] = {}
        self._waiting: deque[Run] = deque()

    @property
    def is_running(self) -> bool:
        """Return whether the worker has something to do."""
        return bool(self._running)

    def add(self, run: Run) -> None:
        """Send a run, or let it wait."""
        if self.channel is None or self._waiting:
            self._waiting.append(run)
        else:
            self._send(run)

    def take(self, number: int) -> Run:
        """Return the run that was answered; raises ``BrokenFrames`` for one that is not under way."""
        self.head_since = time.monotonic()
        run = self._running.pop(number, None)
        if run is None:
            raise BrokenFrames(f"an answer to run {number}, which is not under way")
        return run

    def take_oldest(self) -> Run:
        """Return the run that the worker is at."""
        return self._running.pop(next(iter(self._running)))

    def advance(self) -> None:
        """Send what waits: a suspect only when nothing else runs, and nothing else while it does."""
        while self._waiting and self.channel is not None:
            run = self._waiting[0]
            if self._running and (run.is_suspect or next(iter(self._running.values())).is_suspect):
                return
            self._waiting.popleft()
            if not run.future.done():
                self._send(run)

    def hold_over(self) -> None:
        """Have what ran wait for the next worker, before all else. What was a suspect already is the culprit."""
        self.channel = None
        again: list[Run] = []
        for run in self._running.values():
            if run.future.done():
                continue
            if run.is_suspect:
                run.future.set_exception(_culprit())
            else:
                run.is_suspect = True
                again.append(run)
        self._running.clear()
        self._waiting.extendleft(reversed(again))

    def fail(self, error: HeadwaterError) -> None:
        """Answer everything with ``error``."""
        for run in (*self._running.values(), *self._waiting):
            if not run.future.done():
                run.future.set_exception(error)
        self._running.clear()
        self._waiting.clear()

    def _send(self, run: Run) -> None:
        assert self.channel is not None
        if not self._running:
            self.head_since = time.monotonic()
        self._running[run.number] = run
        self.channel.send(run.frame)


def _culprit() -> HeadwaterError:
    return HeadwaterError(
        "model_failed",
        "the model's process ended on these rows, twice",
        hint="the log says how it ended; mend the model, or raise its resources",
    )
