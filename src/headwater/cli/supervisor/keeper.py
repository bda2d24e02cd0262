"""Keeps one child running: starts it, tells when it is ready, starts it again with growing pauses when it dies."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from headwater.cli.supervisor.child import Child, ChildSpec
from headwater.cli.supervisor.logs import LogStream

_PROBE_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 8.0
_REPEAT_SECONDS: Final = 30.0


@dataclass(slots=True)
class Backoff:
    """Pauses between starts: they double while a child keeps dying young, up to a longest one.

    Attributes:
        first_seconds: the pause after the first death.
        longest_seconds: no pause is longer.
        calm_seconds: a child that lived this long starts with a clean slate.
        loop_after: this many young deaths in a row are a crash loop.
    """

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    calm_seconds: float = 60.0
    loop_after: int = 4
    deaths: int = 0

    def pause_seconds(self, lived_seconds: float) -> float:
        """Count one death and return how long to wait."""
        self.deaths = 1 if lived_seconds >= self.calm_seconds else self.deaths + 1
        return min(self.longest_seconds, self.first_seconds * 2.0 ** (self.deaths - 1))

    @property
    def looping(self) -> bool:
        """Return whether it dies again and again."""
        return self.deaths >= self.loop_after


@dataclass(slots=True)
class Patience:
    """When it is time to say what is waited for: not in the first seconds, then whatever is new, and that now and then.

    Attributes:
        began: when the wait began, in seconds on any clock.
        told: what was said last.
        again_at: when that may be said again.
    """

    began: float
    told: str = ""
    again_at: float = math.inf

    def runs_out(self, missing: str, now: float) -> bool:
        """Return whether to say at ``now`` that ``missing`` is waited for, and take it as said."""
        is_news = missing != self.told and now >= self.began + _PATIENCE_SECONDS
        if not is_news and now < self.again_at:
            return False
        self.told, self.again_at = missing, now + _REPEAT_SECONDS
        return True


class Keeper:
    """Keeps one child. ``ready`` is set while the child does its work."""

    def __init__(
        self, spec: ChildSpec, stream: LogStream, *, changed: Callable[[], None], backoff: Backoff | None = None
    ) -> None:
        """Prepare; ``changed`` is called whenever pid, readiness or restarts change."""
        self.spec = spec
        self.ready = asyncio.Event()
        self.child: Child | None = None
        self.restarts = 0
        self.waiting_for = "it has not been started"
        self._stream = stream
        self._changed = changed
        self._backoff = backoff or Backoff()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep it."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stop the child for good, in its own time unless ``hurry`` is set meanwhile."""
        self._hurry = hurry
        self._stop.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                child = await Child.start(self.spec, self._stream)
            except OSError as error:
                self._stream.say(f"{self.spec.name} cannot be started: {error}")
                pause = self._backoff.pause_seconds(0)
            else:
                if not await self._attend(child):
                    return
                pause = self._bury(child)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
            self.restarts += 1

    async def _attend(self, child: Child) -> bool:
        """Follow one life of the child; return whether it ended although nobody asked it to."""
        self.child = child
        self._changed()
        ended = asyncio.create_task(child.wait())
        asked = asyncio.create_task(self._stop.wait())
        watch = asyncio.create_task(self._watch(child))
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        watch.cancel()
        asked.cancel()
        self.ready.clear()
        if not self._stop.is_set():
            return True
        await child.stop(self._hurry)
        await ended
        return False

    def _bury(self, child: Child) -> float:
        """Tell of a death and return how long to wait before the next start."""
        # Whatever it had started must not work on beside its successor.
        child.signal(signal.SIGKILL)
        pause = self._backoff.pause_seconds(time.time() - child.started_at)
        name = self.spec.name
        self._stream.say(f"{name} ended unexpectedly ({_ending(child.returncode)}); starting it again in {pause:g} s")
        if self._backoff.looping:
            self._stream.say(
                f"{name} has ended {self._backoff.deaths} times in a row: see its lines above. "
                "The other processes go on without it."
            )
        self._changed()
        return pause

    async def _watch(self, child: Child) -> None:
        """Probe until it is ready; say now and then what it waits for."""
        patience = Patience(time.monotonic())
        while True:
            try:
                missing = await self.spec.probe(child.started_at)
            except Exception as error:  # noqa: BLE001 - a probe that fails must not end the keeping
                missing = f"its probe failed: {error}"
            if missing is None:
                break
            self.waiting_for = missing
            if patience.runs_out(missing, time.monotonic()):
                self._stream.say(f"waiting for {self.spec.name}: {missing}")
            await asyncio.sleep(_PROBE_SECONDS)
        if self.restarts:
            self._stream.say(f"{self.spec.name} is back (pid {child.pid})")
        self.ready.set()
        self._changed()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}"
