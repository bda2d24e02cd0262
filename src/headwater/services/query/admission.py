"""How many queries run at once, and how many may wait."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from headwater.core.errors import HeadwaterError

WAITING_PER_SLOT: Final = 16


@dataclass(slots=True)
class _Share:
    """What those with one label may take, and how many of them are there."""

    places: asyncio.Semaphore
    users: int = 0


class Admission:
    """Slots with a bounded queue in front. Used from one event loop."""

    def __init__(self, slots: int) -> None:
        """Admit ``slots`` at once and let a multiple of that wait."""
        self.slots = slots
        self._share = max(1, slots - 1)
        self._shares: dict[str, _Share] = {}
        self._semaphore = asyncio.Semaphore(slots)
        self._max_waiting = slots * WAITING_PER_SLOT
        self._waiting = 0
        self._running = 0

    @property
    def running(self) -> int:
        """Return how many slots are taken."""
        return self._running

    @property
    def waiting(self) -> int:
        """Return how many wait for a slot."""
        return self._waiting

    async def enter(self, timeout_seconds: float, label: str = "") -> Slot:
        """Return a slot; those with the same ``label`` leave one to others.

        Raises:
            HeadwaterError: ``overloaded`` at once when the queue is full, or when no slot came free in time.
        """
        if self._waiting >= self._max_waiting:
            raise self._overloaded("too many queries wait already")
        self._waiting += 1
        share = self._shares.get(label)
        if share is None:
            share = self._shares[label] = _Share(asyncio.Semaphore(self._share))
        share.users += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._acquire(share)
        except BaseException as error:
            self._forget(label, share)
            if isinstance(error, TimeoutError):
                raise self._overloaded(f"no slot came free within {timeout_seconds:g} s") from None
            raise
        finally:
            self._waiting -= 1
        self._running += 1
        return Slot(self, label)

    def leave(self, label: str) -> None:
        """Give a slot back."""
        self._running -= 1
        share = self._shares[label]
        share.places.release()
        self._forget(label, share)
        self._semaphore.release()

    async def _acquire(self, share: _Share) -> None:
        await share.places.acquire()
        try:
            await self._semaphore.acquire()
        except BaseException:
            share.places.release()
            raise

    def _forget(self, label: str, share: _Share) -> None:
        share.users -= 1
        if not share.users:
            del self._shares[label]

    @staticmethod
    def _overloaded(detail: str) -> HeadwaterError:
        return HeadwaterError("overloaded", detail, hint="try again shortly", retry_after_seconds=1)


class Slot:
    """A place among the running queries; ``release`` may be called more than once."""

    __slots__ = ("_admission", "_label")

    def __init__(self, admission: Admission, label: str) -> None:
        """Hold a place of ``admission``."""
        self._admission: Admission | None = admission
        self._label = label

    def release(self) -> None:
        """Give the place back."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.leave(self._label)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
