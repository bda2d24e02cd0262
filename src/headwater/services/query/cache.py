"""Small results kept by their entity tag, and one run for all who ask for the same at the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")
MAX_BYTES: Final = 64 << 20
_OVERHEAD_BYTES: Final = 512


class ResultCache:
    """The most recently used bodies, bounded by their bytes."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Keep at most ``max_bytes``."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()

    def find(self, tag: bytes) -> bytes | None:
        """Return the body of this tag."""
        body = self._bodies.get(tag)
        if body is not None:
            self._bodies.move_to_end(tag)
        return body

    def put(self, tag: bytes, body: bytes) -> None:
        """Keep a body, letting go of the ones unused for longest."""
        if tag in self._bodies:
            return
        self._bodies[tag] = body
        self._bytes += len(body) + _OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            _, gone = self._bodies.popitem(last=False)
            self._bytes -= len(gone) + _OVERHEAD_BYTES


class Flights(Generic[T]):
    """Work under way by key. It is cancelled when everybody who waited for it has gone."""

    def __init__(self, discard: Callable[[T], None]) -> None:
        """Begin with none; ``discard`` gets what nobody waited for any more when it was done."""
        self._discard = discard
        self._tasks: dict[bytes, asyncio.Task[T]] = {}
        self._waiting: dict[asyncio.Task[T], int] = {}
        self._taken: set[asyncio.Task[T]] = set()

    async def join(self, key: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Return what the work of this key returns, and whether this caller is the one who owns it."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work())
        self._waiting[task] = self._waiting.get(task, 0) + 1
        try:
            value = await asyncio.shield(task)
            is_owner = task not in self._taken
            self._taken.add(task)
            return value, is_owner
        finally:
            if task.done():
                self._forget(key, task)
            self._leave(key, task)

    def _leave(self, key: bytes, task: asyncio.Task[T]) -> None:
        self._waiting[task] -= 1
        if self._waiting[task]:
            return
        del self._waiting[task]
        if task in self._taken:
            self._taken.remove(task)
        elif task.done():
            if not task.cancelled() and task.exception() is None:
                self._discard(task.result())
        else:
            self._forget(key, task)
            task.add_done_callback(self._drop)
            task.cancel()

    def _drop(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._discard(task.result())

    def _forget(self, key: bytes, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
