"""One open stream: takes what is newest whenever its client has taken what came before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from headwater.services.query.live.events import HEARTBEAT, Event

Send = Callable[[dict[str, Any]], Awaitable[None]]
WriteNow = Callable[[bytes], bool]


class Source(Protocol):
    """What a viewer watches."""

    def next_event(self, viewer: Viewer) -> Event | None:
        """Return what the viewer has to be told now, and note that it was."""
        ...


class Viewer:
    """A client that watches. Nothing waits in a queue for it: a slow one is told less often, and never what is old.

    Attributes:
        number: the state that it has; None: none.
        problem: the problem that it was told of last.
        last_id: the id that it resumes from, until that was looked at.
    """

    __slots__ = (
        "_ending",
        "_heart",
        "_is_idle",
        "_is_over",
        "_next",
        "_send",
        "_sent_at",
        "_source",
        "_wake",
        "_write_now",
        "last_id",
        "number",
        "problem",
    )

    def __init__(
        self, source: Source, send: Send, last_id: str | None = None, write_now: WriteNow | None = None
    ) -> None:
        """Watch ``source``; ``send`` carries ASGI messages, ``write_now`` a framed chunk if that needs no waiting."""
        self._source = source
        self._send = send
        self._write_now = write_now
        self._next: Event | None = None
        self._is_idle = False
        self._wake = asyncio.Event()
        self._ending: Event | None = None
        self._is_over = False
        self._heart = False
        self._sent_at = time.monotonic()
        self.number: int | None = None
        self.problem: Event | None = None
        self.last_id = last_id

    def wake(self) -> None:
        """Look for what is new."""
        self._wake.set()

    def push(self) -> None:
        """Send what is new: at once, without waking a task, where the client has taken all that came before."""
        if self._write_now is None or not self._is_idle or self._is_over:
            self._wake.set()
            return
        event = self._source.next_event(self)
        if event is None:
            return
        if event.chunk is not None and self._write_now(event.chunk):
            self._sent_at = time.monotonic()
        else:
            self._next, self._is_idle = event, False
            self._wake.set()

    def end(self, event: Event | None = None) -> None:
        """Send ``event`` and no more; at once, whatever was to be told."""
        if not self._is_over:
            self._is_over = True
            self._ending = event
            self._wake.set()

    def beat(self, silent_since: float) -> None:
        """Send a sign of life if nothing was sent since ``silent_since``, in ``time.monotonic`` seconds."""
        if self._sent_at <= silent_since:
            self._heart = True
            self._wake.set()

    async def run(self) -> None:
        """Send what is new until the stream ends. An event that the end finds half sent stays so, and is ignored."""
        while True:
            self._is_idle = not self._wake.is_set()
            await self._wake.wait()
            self._is_idle = False
            self._wake.clear()
            while not self._is_over and (event := self._take_next()) is not None:
                if not await self._tell(event):
                    break
            else:
                if self._is_over:
                    await self._put(b"".join(self._ending.pieces) if self._ending is not None else b"", last=True)
                    return
                if self._heart:
                    await self._put(HEARTBEAT)
                self._heart = False
                continue
            await self._put(b"", last=True)
            return

    def _take_next(self) -> Event | None:
        event, self._next = self._next, None
        return event or self._source.next_event(self)

    async def _tell(self, event: Event) -> bool:
        """Send an event; return whether all of it was sent."""
        self._heart = False
        for number, piece in enumerate(event.pieces):
            if number and self._is_over:
                return False
            await self._put(piece)
        return True

    async def _put(self, body: bytes, *, last: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": not last})
        self._sent_at = time.monotonic()
