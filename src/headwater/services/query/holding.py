"""How many bytes of finished results may wait for their readers, and how they are handed over.

A result that is complete has no slot any more, so that a slow reader keeps nobody from asking. What it holds instead is
memory, and of that there is a bound over all readers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

from headwater.core.errors import HeadwaterError

MAX_BYTES: Final = 256 << 20
PIECE_BYTES: Final = 256 << 10


class Holding:
    """Bytes held for readers. Used from one event loop."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """Hold at most ``max_bytes`` at a time."""
        self._max_bytes = max_bytes
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Return how many bytes are held."""
        return self._bytes

    def take(self, size: int) -> Hold:
        """Return a hold on ``size`` bytes; a single one may be larger than the bound, so that it can be had at all.

        Raises:
            HeadwaterError: ``overloaded`` when too much is held already.
        """
        if self._bytes and self._bytes + size > self._max_bytes:
            raise HeadwaterError(
                "overloaded",
                "too many results wait for readers who take them slowly",
                hint="try again shortly, or ask for less",
                retry_after_seconds=1,
            )
        self._bytes += size
        return Hold(self, size)

    def give_back(self, size: int) -> None:
        """Let go of ``size`` bytes."""
        self._bytes -= size


class Hold:
    """Bytes of one result; ``release`` may be called more than once."""

    __slots__ = ("_holding", "_size")

    def __init__(self, holding: Holding, size: int) -> None:
        """Hold ``size`` bytes of ``holding``."""
        self._holding: Holding | None = holding
        self._size = size

    def release(self) -> None:
        """Let go of the bytes."""
        holding, self._holding = self._holding, None
        if holding is not None:
            holding.give_back(self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


async def send_body(body: bytes, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Send ``body`` in pieces: the server waits for the reader between them, where it would copy a whole one."""
    view = memoryview(body)
    last = max(0, (len(body) - 1) // PIECE_BYTES) * PIECE_BYTES
    for start in range(0, last, PIECE_BYTES):
        piece = bytes(view[start : start + PIECE_BYTES])
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": bytes(view[last:]) if last else body})
