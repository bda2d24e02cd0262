"""Small results kept by their entity tag, here and where all workers see them, and one run for all who ask at once."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from headwater.services.query.shared_store import SharedStore

T = TypeVar("T")
MAX_BYTES: Final = 64 << 20
MAX_LAST: Final = 10_000
KEPT_SECONDS: Final = 3_600.0
MAX_WAIT_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.02
_HEAD: Final = struct.Struct("<QI")
_OVERHEAD_BYTES: Final = 512


class Kept(NamedTuple):
    """A whole result: its bytes, how many rows they are, and the cursor to the next page."""

    body: bytes
    rows: int
    following: str = ""


class ResultCache:
    """The most recently used results, bounded by their bytes."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Keep at most ``max_bytes``."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._results: OrderedDict[bytes, Kept] = OrderedDict()

    def find(self, tag: bytes) -> Kept | None:
        """Return the result of this tag."""
        kept = self._results.get(tag)
        if kept is not None:
            self._results.move_to_end(tag)
        return kept

    def put(self, tag: bytes, kept: Kept) -> None:
        """Keep a result, letting go of the ones unused for longest."""
        if tag in self._results:
            return
        self._results[tag] = kept
        self._bytes += len(kept.body) + _OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            _, gone = self._results.popitem(last=False)
            self._bytes -= len(gone.body) + _OVERHEAD_BYTES


class Stale(NamedTuple):
    """The newest answer that was current once: its tag, its headers, and when it was last known to be current."""

    tag: bytes
    headers: Sequence[tuple[bytes, bytes]]
    at: float


class LastAnswers:
    """By question, whatever the versions of its tables: the answer that was current last. The oldest go first."""

    def __init__(self, most: int = MAX_LAST) -> None:
        """Keep ``most``."""
        self._most = most
        self._known: OrderedDict[bytes, Stale] = OrderedDict()

    def note(self, question: bytes, tag: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Note that an answer is current now."""
        self._known[question] = Stale(tag, headers, time.monotonic())
        self._known.move_to_end(question)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def find(self, question: bytes, max_age_seconds: float) -> Stale | None:
        """Return the last answer if it was current within so many seconds."""
        known = self._known.get(question)
        return known if known is not None and time.monotonic() - known.at <= max_age_seconds else None


class SharedResults:
    """Results in a store that all workers share, and the word of who is working one out."""

    def __init__(self, store: SharedStore) -> None:
        """Keep them in ``store``."""
        self._store = store

    async def find(self, tag: bytes) -> Kept | None:
        """Return the result of this tag; None also while there is no store."""
        return _unpack(await self._store.get(b"answer:" + tag)) if self._store.is_usable else None

    async def put(self, tag: bytes, kept: Kept) -> None:
        """Keep a result for an hour, and tell those who wait for it."""
        if self._store.is_usable:
            following = kept.following.encode()
            head = _HEAD.pack(kept.rows, len(following)) + following
            await self._store.put(b"answer:" + tag, head + kept.body, seconds=KEPT_SECONDS)

    async def wait(self, tag: bytes, seconds: float) -> Kept | None:
        """Return the result that another worker is working out; None: nobody is, or not within so many seconds."""
        if not self._store.is_usable or await self._store.claim(b"claim:" + tag, seconds=seconds):
            return None
        gives_up_at = time.monotonic() + min(seconds, MAX_WAIT_SECONDS)
        while time.monotonic() < gives_up_at and self._store.is_usable:
            await asyncio.sleep(_LOOK_SECONDS)
            found = await self.find(tag)
            if found is not None:
                return found
        return None

    async def give_up(self, tag: bytes) -> None:
        """Say that there will be no result after all."""
        await self._store.let_go(b"claim:" + tag)


def _unpack(raw: bytes | None) -> Kept | None:
    if raw is None or len(raw) < _HEAD.size:
        return None
    rows, length = _HEAD.unpack_from(raw)
    begin = _HEAD.size + length
    return Kept(raw[begin:], rows, raw[_HEAD.size : begin].decode())


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
