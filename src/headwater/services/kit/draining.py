"""Writing what piles up in memory: every so often, at once when there is much, and once more at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Drain:
    """Calls a function that writes what has piled up. Used from one event loop."""

    def __init__(self, write: Callable[[], Awaitable[None]], *, every_seconds: float, name: str) -> None:
        """Prepare; ``name`` is that of the task."""
        self._write = write
        self._every_seconds = every_seconds
        self._name = name
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_stopping = False

    def start(self) -> None:
        """Begin, unless it has begun or ended."""
        if self._task is None and not self.is_stopping:
            self._task = asyncio.create_task(self._run(), name=self._name)

    def wake(self) -> None:
        """Write now rather than when it is time."""
        self._wake.set()

    async def stop(self) -> None:
        """Write a last time and end."""
        self.is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self.is_stopping:
            try:
                async with asyncio.timeout(self._every_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._write()
        await self._write()
