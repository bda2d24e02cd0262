"""Noticing that a caller has left, so that nothing runs for nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from headwater.services.query.request import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The caller closed the connection before the answer was complete."""


@contextlib.asynccontextmanager
async def listening(receive: Receive) -> AsyncIterator[asyncio.Future[None]]:
    """Yield a future that is done once the client has closed the connection."""

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task = asyncio.create_task(listen())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def or_gone(work: Awaitable[T], gone: asyncio.Future[None]) -> T:
    """Return what ``work`` returns; cancel it and raise ``ClientGone`` when the client has gone before."""
    task = asyncio.ensure_future(work)
    both: set[asyncio.Future[Any]] = {task, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
